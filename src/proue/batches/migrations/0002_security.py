from django.db import migrations

from proue.store import rls


class Migration(migrations.Migration):
    dependencies = [("batches", "0001_initial")]
    operations = [
        rls.secure("batches_uploadedfile"),
        rls.secure("batches_batch"),
        rls.secure("batches_line"),
    ]
