import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("institutions", "0004_find_people")]
    operations = [
        migrations.AddField(
            "institution",
            "student_numbers",
            django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=24), default=list, size=None
            ),
        ),
    ]
