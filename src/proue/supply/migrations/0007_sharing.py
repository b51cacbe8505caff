import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('institutions', '0004_find_people'),
        ('store', '0002_entities_and_links'),
        ('supply', '0006_named'),
    ]

    operations = [
        migrations.AddField(
            model_name='endpoint',
            name='capacity',
            field=models.PositiveIntegerField(null=True),
        ),
        migrations.AddField(
            model_name='endpoint',
            name='owner',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='institutions.institution'),
        ),
        migrations.AddField(
            model_name='endpoint',
            name='shares',
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name='endpoint',
            name='sharing',
            field=models.CharField(choices=[('any', 'any'), ('private-first', 'private-first'), ('private-only', 'private-only')], default='any', max_length=16),
        ),
        migrations.AddField(
            model_name='use',
            name='priority',
            field=models.CharField(choices=[('interactive', 'interactive'), ('batch', 'batch')], default='interactive', max_length=16),
        ),
        migrations.AddConstraint(
            model_name='endpoint',
            constraint=models.CheckConstraint(condition=models.Q(('sharing__in', ['any', 'private-first', 'private-only'])), name='endpoint_sharing_is_known'),
        ),
        migrations.AddConstraint(
            model_name='endpoint',
            constraint=models.CheckConstraint(condition=models.Q(('sharing', 'any'), ('owner__isnull', False), _connector='OR'), name='private_endpoint_has_an_owner'),
        ),
        migrations.AddConstraint(
            model_name='endpoint',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('capacity__gt', 0), ('capacity__isnull', False)), models.Q(('capacity__isnull', True), ('shares', {}), models.Q(('sharing', 'private-first'), _negated=True)), _connector='OR'), name='endpoint_where_some_pass_first_has_a_capacity'),
        ),
        migrations.AddConstraint(
            model_name='use',
            constraint=models.CheckConstraint(condition=models.Q(('priority__in', ['interactive', 'batch'])), name='use_priority_is_known'),
        ),
    ]
