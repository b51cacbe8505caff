from django.db import migrations

from proue.store import rls


class Migration(migrations.Migration):
    dependencies = [("procurement", "0001_initial")]
    operations = [
        rls.secure("procurement_commitment", write=rls.SHARED),
        rls.secure("procurement_covered", write=rls.SHARED),
        rls.secure("procurement_agreed", write=rls.SHARED),
    ]
