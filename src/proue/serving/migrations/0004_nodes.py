from django.db import migrations, models


class Migration(migrations.Migration):
    """With a default of the database's own: a gateway of before still says that it lives."""

    dependencies = [("serving", "0003_marks")]
    operations = [
        migrations.AddField("gateway", "nodes", models.JSONField(default=list, db_default=[])),
    ]
