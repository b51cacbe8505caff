from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("supply", "0008_aliases")]
    operations = [
        migrations.AddField("use", "names", models.BooleanField(db_default=False, default=False)),
        migrations.AddConstraint(
            "use",
            models.CheckConstraint(condition=Q(names=False) | ~Q(shield="allow"), name="use_names_have_a_shield"),
        ),
    ]
