"""Review before sharing: a deposit is in review, refused, or shared, and each move keeps the role that decided."""

from django.db import migrations, models
from django.db.models import Q
from django.db.models.deletion import PROTECT

import proue.kernel.ids
from proue.store import rls
from proue.store.rules import ALLIANCE

STATES = ["draft", "in_review", "published", "refused", "withdrawn"]
VERBS = ["submit", "publish", "share", "refuse", "withdraw"]
OWNER = (
    "(institution_id IN (SELECT i.id FROM institutions_institution i "
    "WHERE i.scope_id = ANY ((SELECT proue_scopes())::uuid[])) "
    f"OR '{ALLIANCE}'::uuid = ANY ((SELECT proue_scopes())::uuid[]))"
)
OF_DATASET = f"{rls.IN_SCOPE} AND EXISTS (SELECT 1 FROM datasets_dataset d WHERE d.id = dataset_id AND {OWNER})"


class Migration(migrations.Migration):
    dependencies = [("datasets", "0002_security")]
    operations = [
        migrations.AlterField(
            model_name="dataset",
            name="state",
            field=models.CharField(choices=[(one, one) for one in STATES], default="draft", max_length=16),
        ),
        migrations.RemoveConstraint(model_name="dataset", name="dataset_state_is_known"),
        migrations.AddConstraint(
            model_name="dataset",
            constraint=models.CheckConstraint(condition=Q(("state__in", STATES)), name="dataset_state_is_known"),
        ),
        migrations.AddConstraint(
            model_name="dataset",
            constraint=models.CheckConstraint(
                condition=Q(Q(("state", "refused"), _negated=True), Q(("reason", ""), _negated=True), _connector="OR"),
                name="refused_dataset_says_why",
            ),
        ),
        migrations.CreateModel(
            name="Decision",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=proue.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("version", models.PositiveIntegerField()),
                ("verb", models.CharField(choices=[(one, one) for one in VERBS], max_length=16)),
                ("role", models.CharField(blank=True, max_length=24)),
                ("person_id", models.UUIDField(null=True)),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("at", models.DateTimeField()),
                (
                    "dataset",
                    models.ForeignKey(on_delete=PROTECT, related_name="decisions", to="datasets.dataset"),
                ),
                ("scope", models.ForeignKey(on_delete=PROTECT, related_name="+", to="store.scope")),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(
                            Q(("verb__in", ["refuse", "withdraw"]), _negated=True),
                            Q(("reason", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="refusing_or_withdrawing_says_why",
                    )
                ],
            },
        ),
        rls.secure("datasets_decision", write=OF_DATASET),
        migrations.RunSQL(
            """
            DROP POLICY datasets_decision_update ON datasets_decision;
            DROP POLICY datasets_decision_delete ON datasets_decision;
            """,
            """
            CREATE POLICY datasets_decision_update ON datasets_decision FOR UPDATE TO proue_app USING (false);
            CREATE POLICY datasets_decision_delete ON datasets_decision FOR DELETE TO proue_app USING (false);
            """,
        ),
    ]
