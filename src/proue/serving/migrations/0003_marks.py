from django.db import migrations, models


class Migration(migrations.Migration):
    """The table is made anew: what marks it held, the publication of every five minutes makes good."""

    dependencies = [("serving", "0002_closings")]
    operations = [
        migrations.DeleteModel(name="Change"),
        migrations.CreateModel(
            name="Change",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("transaction", models.BigIntegerField()),
                ("subject_id", models.UUIDField(null=True)),
                ("at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("transaction", "subject_id"), name="one_mark_per_transaction_and_subject", nulls_distinct=False
                    )
                ]
            },
        ),
    ]
