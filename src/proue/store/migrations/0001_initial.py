from django.db import migrations, models
import django.db.models.deletion

import proue.kernel.ids
from proue.store import rls

SCOPES = """
INSERT INTO store_scope (id, kind, code) VALUES
  ('00000000-0000-7000-8000-000000000001', 'public', 'public'),
  ('00000000-0000-7000-8000-000000000002', 'alliance', 'alliance'),
  ('00000000-0000-7000-8000-000000000003', 'members', 'members');
"""


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.RunSQL(rls.FUNCTIONS, "DROP FUNCTION proue_scopes()"),
        migrations.RunSQL(rls.RANGES, "DROP TYPE proue_uuidrange; DROP TYPE proue_textrange"),
        migrations.CreateModel(
            name="Scope",
            fields=[
                ("id", models.UUIDField(default=proue.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("public", "public"),
                            ("alliance", "alliance"),
                            ("members", "members"),
                            ("institution", "institution"),
                            ("group", "group"),
                            ("lot", "lot"),
                            ("person", "person"),
                        ],
                        max_length=16,
                    ),
                ),
                ("code", models.CharField(max_length=64)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("kind", "code"), name="one_scope_per_kind_and_code")
                ]
            },
        ),
        migrations.RunSQL(SCOPES, migrations.RunSQL.noop),
        migrations.CreateModel(
            name="StoredFile",
            fields=[
                ("id", models.UUIDField(default=proue.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("digest", models.CharField(max_length=64)),
                ("size", models.BigIntegerField()),
                ("media_type", models.CharField(max_length=127)),
                ("created_at", models.DateTimeField()),
                (
                    "scope",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="store.scope"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("scope", "digest"), name="one_stored_file_per_scope_and_digest"
                    )
                ]
            },
        ),
        rls.secure("store_storedfile"),
    ]
