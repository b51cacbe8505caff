import django.db.models.deletion
import proue.kernel.ids
from django.db import migrations, models

from proue.store import rls


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('store', '0002_entities_and_links'),
    ]

    operations = [
        migrations.CreateModel(
            name='Look',
            fields=[
                ('id', models.UUIDField(default=proue.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('at', models.DateTimeField()),
                ('software', models.CharField(max_length=32)),
                ('seen', models.JSONField()),
            ],
            options={
                'indexes': [models.Index(fields=['-at'], name='look_at')],
            },
        ),
        migrations.CreateModel(
            name='Found',
            fields=[
                ('id', models.UUIDField(default=proue.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('duty', models.CharField(max_length=32)),
                ('verdict', models.CharField(choices=[('conforming', 'conforming'), ('non_conforming', 'non_conforming'), ('undetermined', 'undetermined'), ('not_applicable', 'not_applicable'), ('derogated', 'derogated')], max_length=16)),
                ('parts', models.JSONField()),
                ('look', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='found', to='compliance.look')),
            ],
            options={
                'indexes': [models.Index(fields=['duty', 'look'], name='found_duty_look')],
                'constraints': [
                    models.UniqueConstraint(fields=('look', 'duty'), name='one_finding_per_look_and_duty'),
                    models.CheckConstraint(condition=models.Q(('verdict__in', ['conforming', 'non_conforming', 'undetermined', 'not_applicable', 'derogated'])), name='found_verdict_is_known'),
                ],
            },
        ),
        # What this instance says of itself is open to all; only the look writes, as proue_system.
        rls.secure('compliance_look', read='true', write='false'),
        rls.secure('compliance_found', read='true', write='false'),
    ]
