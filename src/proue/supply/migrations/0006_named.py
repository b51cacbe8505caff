import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q

import proue.kernel.ids
from proue.store import rls

RESTRICTED = 4


class Migration(migrations.Migration):
    """The keys of restricted uses that exist open nothing until their use names its persons."""

    dependencies = [("supply", "0005_node"), ("institutions", "0004_find_people")]
    operations = [
        migrations.CreateModel(
            name="UsePerson",
            fields=[
                ("id", models.UUIDField(default=proue.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("named_at", models.DateTimeField()),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="institutions.person"
                    ),
                ),
                (
                    "scope",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="store.scope"),
                ),
                (
                    "use",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="named", to="supply.use"
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            "useperson",
            models.UniqueConstraint(fields=["use", "person"], name="one_naming_per_use_and_person"),
        ),
        rls.secure("supply_useperson"),
        # No assistant under a restricted use; one that was declared so keeps its sessions out of the snapshot by then.
        migrations.RunSQL(
            f"UPDATE supply_use SET assistant = false WHERE assistant AND data_class = {RESTRICTED}",
            migrations.RunSQL.noop,
        ),
        migrations.AddConstraint(
            "use",
            models.CheckConstraint(
                condition=Q(assistant=False) | Q(data_class__lt=RESTRICTED), name="restricted_use_is_no_assistants"
            ),
        ),
    ]
