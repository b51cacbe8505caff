from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("knowledge", "0002_security")]
    operations = [
        migrations.AddField(
            model_name="document",
            name="withdrawn_as",
            # The database keeps the default: what runs on the old code goes on inserting.
            field=models.CharField(blank=True, db_default="", default="", max_length=24),
        ),
        migrations.AlterField(
            model_name="document", name="withdrawn_as", field=models.CharField(blank=True, max_length=24)
        ),
    ]
