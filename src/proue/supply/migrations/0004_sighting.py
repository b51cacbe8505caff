import django.db.models.deletion
from django.db import migrations, models

import proue.kernel.ids
from proue.store import rls


class Migration(migrations.Migration):
    dependencies = [("supply", "0003_attributes")]
    operations = [
        migrations.CreateModel(
            name="Sighting",
            fields=[
                ("id", models.UUIDField(default=proue.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("answers", models.BooleanField()),
                ("since", models.DateTimeField()),
                ("seen_at", models.DateTimeField()),
                (
                    "endpoint",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="supply.endpoint"
                    ),
                ),
            ],
        ),
        rls.secure("supply_sighting", read="true", write="false"),
    ]
