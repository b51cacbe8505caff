"""Migrations under an advisory lock, then the grants of the three roles."""

from django.core.management import call_command
from django.db import connections, transaction

from proue.store.access import OWNER

# Any number; the same for every process that migrates one database.
MIGRATION_LOCK = 0x50524F5545

# What the application may not do to these tables, whatever a policy says.
REVOKED = {
    "ledger_fact": "UPDATE, DELETE, TRUNCATE",  # it only grows
    "ledger_seal": "INSERT, UPDATE, DELETE, TRUNCATE",  # made by proue_system only
    "ledger_signingkey": "INSERT, UPDATE, DELETE, TRUNCATE",
    "ledger_signingsecret": "ALL",
    "ledger_verification": "INSERT, UPDATE, DELETE, TRUNCATE",
    "metering_usage_staging": "SELECT, UPDATE, DELETE, TRUNCATE",  # gateways copy into it; a function empties it
    "serving_snapshotpart": "INSERT, UPDATE, DELETE, TRUNCATE",  # published by proue_system only
}

# What nobody of ours may do, proue_system included: a seal and a key never change, a fact only gets its number.
NEVER = {
    "ledger_fact": "UPDATE, DELETE, TRUNCATE",
    "ledger_seal": "UPDATE, DELETE, TRUNCATE",
    "ledger_signingkey": "UPDATE, DELETE, TRUNCATE",
    "ledger_signingsecret": "UPDATE, TRUNCATE",  # destroyed when its key retires
    "ledger_verification": "UPDATE, DELETE, TRUNCATE",
}
NUMBERED = "GRANT UPDATE (sequence, hash) ON ledger_fact TO proue_system"

GRANTS = """
GRANT USAGE ON SCHEMA public TO proue_app, proue_system;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO proue_app, proue_system;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO proue_app, proue_system;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO proue_app, proue_system;
"""


REVOKE = "REVOKE {rights} ON {table} FROM {role}"


def migrate(*, verbosity: int = 0) -> None:
    """Idempotent; several commands at once wait for one another instead of racing."""
    connection = connections[OWNER]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
    try:
        call_command("migrate", database=OWNER, verbosity=verbosity, interactive=False, skip_checks=True)
        call_command("createcachetable", database=OWNER, verbosity=verbosity)
        # At once: nobody holds, even for an instant, what the next line takes back.
        with transaction.atomic(using=OWNER), connection.cursor() as cursor:
            cursor.execute(GRANTS)
            for role, revoked in (("proue_app", REVOKED), ("proue_system", NEVER)):
                for table, rights in revoked.items():
                    cursor.execute(REVOKE.format(table=table, rights=rights, role=role))
            cursor.execute(NUMBERED)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])
        connection.close()


def pending() -> list[str]:
    """Names of migrations that the database has not had."""
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connections[OWNER])
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
