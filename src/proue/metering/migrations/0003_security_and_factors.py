from django.db import migrations

from proue.kernel.ids import uuid7
from proue.store import rls

SOURCE = (
    "EcoLogits 0.11.3 (MPL-2.0), electricity_mixes.json: carbon intensity after Our World in Data, "
    "water consumed off site after the World Resources Institute"
)
VERSION = "ecologits-0.11.3"
# zone, g CO2e per kWh, litres per kWh
FACTORS = [
    ("FRA", 41.44, 3.6737),
    ("WOR", 458.29, 3.908),
    ("BEL", 149.82, 2.6198),
    ("CHE", 39.22, 5.6641),
    ("DEU", 329.65, 1.947),
    ("ESP", 153.6, 6.2088),
    ("ITA", 284.78, 4.8374),
    ("SWE", 35.26, 6.0315),
    ("USA", 384.4, 3.1321),
]


def seed(apps, schema_editor):
    factor = apps.get_model("metering", "EmissionFactor")
    factor.objects.using(schema_editor.connection.alias).bulk_create(
        factor(
            id=uuid7(),
            zone=zone,
            valid_from="2020-01-01",
            grid_g_per_kwh=grid,
            water_l_per_kwh=water,
            source=SOURCE,
            version=VERSION,
        )
        for zone, grid, water in FACTORS
    )


class Migration(migrations.Migration):
    dependencies = [("metering", "0002_usage")]
    operations = [
        rls.secure("metering_day", write="false"),
        rls.secure("metering_emissionfactor", read="true", write="false"),
        rls.secure("metering_budget"),
        migrations.RunPython(seed, migrations.RunPython.noop),
    ]
