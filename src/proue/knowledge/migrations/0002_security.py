from django.db import migrations

from proue.store import rls
from proue.store.rules import ALLIANCE

OWNER = (
    "(institution_id IN (SELECT i.id FROM institutions_institution i "
    "WHERE i.scope_id = ANY ((SELECT proue_scopes())::uuid[])) "
    f"OR '{ALLIANCE}'::uuid = ANY ((SELECT proue_scopes())::uuid[]))"
)
WRITE = f"{rls.IN_SCOPE} AND {OWNER}"
OF_DOCUMENT = f"{rls.IN_SCOPE} AND EXISTS (SELECT 1 FROM knowledge_document d WHERE d.id = document_id AND {OWNER})"


class Migration(migrations.Migration):
    dependencies = [("knowledge", "0001_initial"), ("institutions", "0002_security")]
    operations = [
        rls.secure("knowledge_document", write=WRITE),
        rls.secure("knowledge_passage", write=OF_DOCUMENT),
        # Whoever may read a passage may cite it; nobody changes or deletes a citation (see below).
        rls.secure("knowledge_citation"),
        rls.secure("knowledge_generation"),
        migrations.RunSQL(
            """
            DROP POLICY knowledge_citation_update ON knowledge_citation;
            DROP POLICY knowledge_citation_delete ON knowledge_citation;
            """,
            """
            CREATE POLICY knowledge_citation_update ON knowledge_citation FOR UPDATE TO proue_app USING (false);
            CREATE POLICY knowledge_citation_delete ON knowledge_citation FOR DELETE TO proue_app USING (false);
            """,
        ),
    ]
