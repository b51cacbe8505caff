from django.db import migrations

from proue.store import rls


class Migration(migrations.Migration):
    dependencies = [("ledger", "0001_initial")]
    operations = [
        # Anyone may record a fact in any scope (a refusal concerns another's institution); reading stays scoped,
        # and update and delete are not granted at all (config/database.py).
        rls.secure("ledger_fact", write="true"),
    ]
