from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("supply", "0008_aliases")]
    operations = [migrations.AddField("use", "names", models.BooleanField(db_default=False, default=False))]
