"""What a month end reads instead of a month of usage: sums by endpoint and model, and histograms of times."""

import proue.kernel.ids
from django.db import migrations, models

from proue.store import rls


# Days that were summed before these tables were made are summed once more.
AGAIN = """
INSERT INTO metering_touched (batch, day)
SELECT gen_random_uuid(), day
  FROM (SELECT DISTINCT (opened_at AT TIME ZONE 'Europe/Paris')::date AS day FROM metering_usage) AS known
"""


class Migration(migrations.Migration):

    dependencies = [
        ('metering', '0003_security_and_factors'),
    ]

    operations = [
        migrations.CreateModel(
            name='Latency',
            fields=[
                ('id', models.UUIDField(default=proue.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('day', models.DateField()),
                ('endpoint', models.CharField(max_length=64)),
                ('kind', models.CharField(max_length=8)),
                ('bucket', models.SmallIntegerField()),
                ('requests', models.BigIntegerField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('day', 'endpoint', 'kind', 'bucket'), name='one_latency_per_day_endpoint_kind_and_bucket')],
            },
        ),
        migrations.CreateModel(
            name='Served',
            fields=[
                ('id', models.UUIDField(default=proue.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('day', models.DateField()),
                ('endpoint', models.CharField(max_length=64)),
                ('model', models.CharField(max_length=200)),
                ('requests', models.BigIntegerField()),
                ('answered', models.BigIntegerField()),
                ('refused', models.BigIntegerField()),
                ('throttled', models.BigIntegerField()),
                ('failed', models.BigIntegerField()),
                ('told', models.BigIntegerField()),
                ('estimated', models.BigIntegerField()),
                ('tokens_in', models.BigIntegerField()),
                ('tokens_out', models.BigIntegerField()),
                ('metered_tokens_out', models.BigIntegerField()),
                ('energy_uwh', models.BigIntegerField()),
                ('energy_low_uwh', models.BigIntegerField()),
                ('energy_high_uwh', models.BigIntegerField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('day', 'endpoint', 'model'), name='one_served_per_day_endpoint_and_model')],
            },
        ),
        # Over all institutions: only a month end reads them, as proue_system.
        rls.secure("metering_served", read="false", write="false"),
        rls.secure("metering_latency", read="false", write="false"),
        migrations.RunSQL(AGAIN, migrations.RunSQL.noop),
    ]
