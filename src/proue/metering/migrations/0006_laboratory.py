import django.db.models.deletion
from django.db import migrations, models

import proue.kernel.ids
from proue.store import rls


class Migration(migrations.Migration):
    dependencies = [("metering", "0005_shielded"), ("institutions", "0004_find_people")]
    operations = [
        migrations.CreateModel(
            name="Laboratory",
            fields=[
                ("id", models.UUIDField(default=proue.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("key", models.CharField(max_length=32, unique=True)),
                ("public", models.BinaryField(max_length=32)),
                ("trusted_at", models.DateTimeField()),
                ("last_number", models.BigIntegerField(default=0)),
                ("last_imported_at", models.DateTimeField(null=True)),
                (
                    "institution",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="institutions.institution"
                    ),
                ),
                (
                    "scope",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="store.scope"),
                ),
            ],
            options={"abstract": False},
        ),
        rls.secure("metering_laboratory", write="false"),
    ]
