from django.db import migrations, models
from django.db.models import Q

THROUGH_A_NODE = Q(base_url__startswith="node:")


class Migration(migrations.Migration):
    dependencies = [("supply", "0004_sighting")]
    operations = [
        migrations.AddField("endpoint", "node_key", models.CharField(blank=True, default="", max_length=64)),
        migrations.RemoveConstraint("endpoint", "endpoint_address_is_http_or_a_unix_socket"),
        migrations.AddConstraint(
            "endpoint",
            models.CheckConstraint(
                condition=Q(base_url__regex=r"^(https?://|unix:/|node:)"),
                name="endpoint_address_is_http_a_unix_socket_or_a_node",
            ),
        ),
        migrations.AddConstraint(
            "endpoint",
            models.CheckConstraint(
                condition=(THROUGH_A_NODE & ~Q(node_key="")) | (~THROUGH_A_NODE & Q(node_key="")),
                name="endpoint_has_a_key_with_a_node",
            ),
        ),
    ]
