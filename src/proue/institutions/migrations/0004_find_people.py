from django.db import migrations, models
from django.db.models.functions import Upper


class Migration(migrations.Migration):
    """Signing in compares addresses whatever their case: it read every person. Unique, as `add_person` keeps them: the
    planner then knows, without statistics, that there is one to find."""

    dependencies = [("institutions", "0003_alliance")]
    operations = [
        migrations.AddConstraint(
            model_name="person",
            constraint=models.UniqueConstraint(Upper("email"), name="one_person_per_address_in_any_case"),
        )
    ]
