from django.db import migrations

from proue.store import rls


class Migration(migrations.Migration):
    dependencies = [("needs", "0001_initial")]
    operations = [
        rls.secure("needs_need", write=rls.SHARED),
        rls.secure("needs_consolidatedneed", write=rls.SHARED),
        rls.secure("needs_merge", write=rls.SHARED),
    ]
