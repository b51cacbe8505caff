"""The embedded PostgreSQL of a process tree: when it dies it is started again, and nothing waits for it meanwhile."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from proue.config.postgres import Cluster, Running, Urls

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 30.0
STOP_S = 20.0  # left to a start under way when the tree ends; then the kernel ends it with us


class Database:
    """Blocks at the first start; `watch` never does. Raises what Cluster.start raises, at the first start only."""

    def __init__(self, data_dir: Path, say: Callable[[str], None]) -> None:
        self._data_dir = data_dir
        self._say = say
        self._ending = threading.Event()
        self._reviving: threading.Thread | None = None
        self._running: Running | None = Cluster(data_dir).start()

    @property
    def urls(self) -> Urls:
        assert self._running is not None
        return self._running.urls

    def watch(self) -> None:
        """Call now and then: a server that ended is replaced in a thread. Its addresses stay the same."""
        if self._reviving is not None:
            if self._reviving.is_alive():
                return
            self._reviving = None
        if self._running is not None and self._running.child.poll() is not None:
            self._say("La base de données s’est arrêtée ; Proue la relance.")
            dead, self._running = self._running, None
            self._reviving = threading.Thread(target=self._revive, args=[dead], name="postgres-revival", daemon=True)
            self._reviving.start()

    def _revive(self, dead: Running) -> None:
        # Gives its lock back, and waits for the backends that outlived it; who stays is met again by the start below.
        with contextlib.suppress(Exception):
            dead.stop()
        backoff, last = BACKOFF_FIRST_S, ""
        while not self._ending.is_set():
            try:
                self._running = Cluster(self._data_dir).start()
            except Exception as error:  # noqa: BLE001 - whatever it is, this thread is the only one that tries again
                if str(error) != last:
                    last = str(error)
                    self._say(f"{last} Proue réessaie.")
                self._ending.wait(backoff)
                backoff = min(backoff * 2, BACKOFF_MAX_S)
            else:
                self._say("La base de données répond de nouveau.")
                return

    def stop(self) -> None:
        self._ending.set()
        if self._reviving is not None:
            self._reviving.join(STOP_S)
        if self._running is not None:
            self._running.stop()
