from django.db import migrations

from proue.store import rls


class Migration(migrations.Migration):
    dependencies = [("needs", "0001_initial")]
    operations = [
        # Whoever consolidates reads what the institutions said; queries and doors keep it to them.
        rls.secure("needs_need", read=f"{rls.IN_SCOPE} OR {rls.ALLIANCE_ONLY}", write=rls.SHARED),
        rls.secure("needs_consolidatedneed", write=rls.SHARED),
        rls.secure("needs_merge", write=rls.SHARED),
    ]
