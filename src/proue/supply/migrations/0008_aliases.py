from django.db import migrations, models
from django.db.models import F, Q

import proue.kernel.ids
from proue.store import rls
from proue.store.rules import ALLIANCE

OPERATORS = f"'{ALLIANCE}'::uuid = ANY ((SELECT proue_scopes())::uuid[])"  # as of models, in 0002


def announced(kind: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=Q(retires_at__isnull=True)
        | Q(retirement_announced_at__isnull=False, retirement_announced_at__lt=F("retires_at")),
        name=f"{kind}_retirement_is_announced",
    )


def replaced_by() -> models.CharField:
    return models.CharField(blank=True, db_default="", default="", max_length=128)


class Migration(migrations.Migration):
    dependencies = [("supply", "0007_sharing")]
    operations = [
        migrations.CreateModel(
            name="Alias",
            fields=[
                ("id", models.UUIDField(default=proue.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=128, unique=True)),
                ("model", models.CharField(max_length=128)),
                ("then", models.CharField(blank=True, max_length=128)),
                ("then_from", models.DateTimeField(null=True)),
                ("retires_at", models.DateTimeField(null=True)),
                ("retirement_announced_at", models.DateTimeField(null=True)),
                ("replaced_by", replaced_by()),
                ("created_at", models.DateTimeField()),
            ],
        ),
        migrations.AddField("model", "retires_at", models.DateTimeField(null=True)),
        migrations.AddField("model", "retirement_announced_at", models.DateTimeField(null=True)),
        migrations.AddField("model", "replaced_by", replaced_by()),
        migrations.AddConstraint("model", announced("model")),
        migrations.AddConstraint(
            "alias",
            models.CheckConstraint(
                condition=Q(then="", then_from__isnull=True) | (~Q(then="") & Q(then_from__isnull=False)),
                name="alias_turns_on_an_announced_day",
            ),
        ),
        migrations.AddConstraint("alias", announced("alias")),
        rls.secure("supply_alias", read="true", write=OPERATORS),
    ]
