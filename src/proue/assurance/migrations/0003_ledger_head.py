from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("assurance", "0002_security")]
    operations = [
        migrations.AddField("statement", "ledger_sequence", models.BigIntegerField(default=0)),
        migrations.AddField("statement", "ledger_hash", models.CharField(blank=True, default="", max_length=64)),
    ]
