"""An institution's place in the alliance becomes a dated row, and what its people read follows it."""

import django.db.models.deletion
from django.db import migrations, models

import proue.kernel.ids
from proue.kernel.ids import uuid7
from proue.store import rls

NO_OVERLAP = """
ALTER TABLE institutions_alliancemembership ADD CONSTRAINT one_alliance_membership_at_a_time EXCLUDE USING gist (
  proue_uuidrange(institution_id, institution_id, '[]') WITH &&,
  tstzrange(valid_from, valid_to) WITH &&
);
"""

# Takes the place of institutions_ties: says also whether the institution is a member of the alliance at that moment.
BONDS = """
CREATE FUNCTION institutions_bonds(who uuid, moment timestamptz)
RETURNS TABLE (scope_id uuid, institution_id uuid, uai text, status text, role text, in_alliance boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT t.scope_id, t.institution_id, t.uai, t.status, t.role,
         EXISTS (SELECT 1 FROM institutions_alliancemembership a
                  WHERE a.institution_id = t.institution_id AND a.valid_from <= moment
                    AND (a.valid_to IS NULL OR a.valid_to > moment))
    FROM institutions_ties(who, moment) t
$$;
"""


def carry_over(apps, schema_editor):
    """Members until now are members since they were declared."""
    alias = schema_editor.connection.alias
    institutions = apps.get_model("institutions", "Institution").objects.using(alias)
    rows = apps.get_model("institutions", "AllianceMembership")
    rows.objects.using(alias).bulk_create(
        rows(id=uuid7(), institution_id=one.pk, valid_from=one.created_at)
        for one in institutions.filter(is_member=True)
    )
    with schema_editor.connection.cursor() as cursor:  # before the column goes: no check may stay pending
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


class Migration(migrations.Migration):
    dependencies = [("institutions", "0002_security")]
    operations = [
        migrations.CreateModel(
            name="AllianceMembership",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=proue.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("valid_from", models.DateTimeField()),
                ("valid_to", models.DateTimeField(null=True)),
                (
                    "institution",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="alliance",
                        to="institutions.institution",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("valid_to__isnull", True), ("valid_to__gt", models.F("valid_from")), _connector="OR"
                        ),
                        name="alliance_membership_ends_after_it_starts",
                    )
                ],
            },
        ),
        migrations.RunSQL(NO_OVERLAP, migrations.RunSQL.noop),
        migrations.RunSQL(BONDS, "DROP FUNCTION institutions_bonds(uuid, timestamptz)"),
        rls.secure("institutions_alliancemembership", read="true", write=rls.ALLIANCE_ONLY),
        migrations.RunPython(carry_over, migrations.RunPython.noop),
        migrations.RemoveField(model_name="institution", name="is_member"),
    ]
