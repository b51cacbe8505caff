import proue.kernel.ids
from django.db import migrations, models

from proue.store import rls


class Migration(migrations.Migration):

    dependencies = [
        ('serving', '0001_initial'),
        ('store', '0002_entities_and_links'),
    ]

    operations = [
        migrations.CreateModel(
            name='Closing',
            fields=[
                ('id', models.UUIDField(default=proue.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('endpoint', models.CharField(max_length=64)),
                ('data_class', models.SmallIntegerField()),
                ('closes_at', models.DateTimeField()),
                ('uses', models.PositiveIntegerField()),
                ('reminded', models.PositiveSmallIntegerField(null=True)),
                ('reminded_at', models.DateTimeField(null=True)),
            ],
        ),
        migrations.AddConstraint(
            model_name='closing',
            constraint=models.UniqueConstraint(fields=('endpoint', 'data_class', 'closes_at'), name='one_closing_per_gate_and_time'),
        ),
        # Counts and dates, open to all; the publication writes, as proue_system.
        rls.secure('serving_closing', read='true', write='false'),
    ]
