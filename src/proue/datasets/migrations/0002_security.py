from django.db import migrations

from proue.store import rls
from proue.store.rules import ALLIANCE

# Public documents are read by all: only the institution that brings them, or the alliance, may write them.
OWNER = (
    "(institution_id IN (SELECT i.id FROM institutions_institution i "
    "WHERE i.scope_id = ANY ((SELECT proue_scopes())::uuid[])) "
    f"OR '{ALLIANCE}'::uuid = ANY ((SELECT proue_scopes())::uuid[]))"
)
WRITE = f"{rls.IN_SCOPE} AND {OWNER}"
OF_DATASET = f"{rls.IN_SCOPE} AND EXISTS (SELECT 1 FROM datasets_dataset d WHERE d.id = dataset_id AND {OWNER})"


class Migration(migrations.Migration):
    dependencies = [("datasets", "0001_initial"), ("institutions", "0002_security")]
    operations = [
        rls.secure("datasets_dataset", write=WRITE),
        rls.secure("datasets_legalfile", write=OF_DATASET),
        rls.secure("datasets_distribution", write=OF_DATASET),
    ]
