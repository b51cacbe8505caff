from django.db import migrations

from proue.store import rls
from proue.store.rules import ALLIANCE

# A public register, written with the alliance's scope (its operators) or by our own jobs.
OPERATORS = f"'{ALLIANCE}'::uuid = ANY ((SELECT proue_scopes())::uuid[])"
# Visitors ask under the public assistant's use: its row hides nothing.
PUBLIC_ASSISTANT = f"{rls.IN_SCOPE} OR (assistant AND data_class = 0)"


class Migration(migrations.Migration):
    dependencies = [("supply", "0001_initial")]
    operations = [
        rls.secure("supply_provider", read="true", write=OPERATORS),
        rls.secure("supply_endpoint", read="true", write=OPERATORS),
        rls.secure("supply_model", read="true", write=OPERATORS),
        rls.secure("supply_use", read=PUBLIC_ASSISTANT),
        rls.secure("supply_apikey"),
    ]
