"""Row-level security as migration operations, and the list of tables that have a reason to go without."""

from django.db import migrations

from proue.store.rules import ALLIANCE, PUBLIC

FUNCTIONS = """
CREATE FUNCTION proue_scopes() RETURNS uuid[] LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE raw text := current_setting('proue.scopes', true);
BEGIN
  -- After a first transaction the setting is '' and not NULL: both mean that nobody entered a scope.
  IF raw IS NULL OR raw = '' THEN
    RAISE EXCEPTION 'no access scope was entered: open store.scope(actor) first' USING ERRCODE = 'PR001';
  END IF;
  RETURN raw::uuid[];
END $$;
"""

# Range types over uuid and text stand in for btree_gist, which the embedded build does not carry.
RANGES = """
CREATE TYPE proue_uuidrange AS RANGE (subtype = uuid);
CREATE TYPE proue_textrange AS RANGE (subtype = text);
"""

IN_SCOPE = "scope_id = ANY ((SELECT proue_scopes())::uuid[])"

# Of what many read and few write: inside one's own scopes, and what is public only with the alliance's.
SHARED = f"({IN_SCOPE} AND scope_id <> '{PUBLIC}'::uuid) OR '{ALLIANCE}'::uuid = ANY ((SELECT proue_scopes())::uuid[])"
ALLIANCE_ONLY = f"'{ALLIANCE}'::uuid = ANY ((SELECT proue_scopes())::uuid[])"


def secure(table: str, *, read: str = IN_SCOPE, write: str = IN_SCOPE) -> migrations.RunSQL:
    """Enable and force row-level security on `table`.

    `proue_owner` (migrations) and `proue_system` (named tasks) pass by a policy of their own, so that a data
    migration under FORCE does not silently update nothing; everyone else sees what `read` lets through.
    """
    return migrations.RunSQL(
        f"""
        ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
        ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
        CREATE POLICY {table}_trusted ON {table} TO proue_owner, proue_system USING (true) WITH CHECK (true);
        CREATE POLICY {table}_read ON {table} FOR SELECT TO proue_app USING ({read});
        CREATE POLICY {table}_insert ON {table} FOR INSERT TO proue_app WITH CHECK ({write});
        CREATE POLICY {table}_update ON {table} FOR UPDATE TO proue_app USING ({write}) WITH CHECK ({write});
        CREATE POLICY {table}_delete ON {table} FOR DELETE TO proue_app USING ({write});
        """,
        f"""
        DROP POLICY {table}_trusted ON {table}; DROP POLICY {table}_read ON {table};
        DROP POLICY {table}_insert ON {table}; DROP POLICY {table}_update ON {table};
        DROP POLICY {table}_delete ON {table};
        ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY; ALTER TABLE {table} DISABLE ROW LEVEL SECURITY;
        """,
    )
