from django.db import migrations

from proue.store import rls


class Migration(migrations.Migration):
    dependencies = [("specification", "0001_initial")]
    operations = [
        rls.secure("specification_requirement", write=rls.SHARED),
        rls.secure("specification_clause", write=rls.SHARED),
        rls.secure("specification_specification", write=rls.SHARED),
    ]
