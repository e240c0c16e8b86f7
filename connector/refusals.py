"""How many requests were refused, from which source and why; never what they said.

A flood of refusals must not become a flood of writes: they are counted in memory and written once a second.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from connector import counters
from connector.errors import StoreUnavailable
from connector.messages import Milliseconds
from connector.store import Store
from connector.tables import doors

FLUSH_SECONDS: Final = 1.0

log: Final = logging.getLogger("connector")


class Refusals:
    """Counts refusals as ``rejected.<source>.<reason>`` and remembers the last one of each source."""

    def __init__(self, store: Store, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._store = store
        self._seconds = flush_seconds
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._last: dict[str, tuple[Milliseconds, str]] = {}
        self._some = threading.Event()
        self._stopped = threading.Event()
        self._writer = threading.Thread(target=self._write, name="connector-refusals", daemon=True)
        self._writer.start()

    def note(self, source: str, reason: str, because: str, now: Milliseconds) -> None:
        """Remember one refusal; because is the sentence the sender was told."""
        with self._lock:
            self._counts[source, reason] += 1
            self._last[source] = now, because
        self._some.set()

    def flush(self) -> None:
        """Write what was counted since the last time; on failure it stays counted."""
        with self._writing:
            with self._lock:
                counts, last = self._counts, self._last
                self._counts, self._last = Counter(), {}
            if not counts:
                return
            try:
                self._save(counts, last)
            except StoreUnavailable as error:
                log.warning("action=count_refusals error=%s", error)
                with self._lock:
                    self._counts.update(counts)
                    self._last = last | self._last
                self._some.set()

    def stop(self) -> None:
        """Write what is left and end."""
        self._stopped.set()
        self._some.set()
        self._writer.join()
        self.flush()

    def _save(self, counts: Counter[tuple[str, str]], last: dict[str, tuple[Milliseconds, str]]) -> None:
        with self._store.writing() as tx:
            for (source, reason), n in sorted(counts.items()):
                counters.add(tx, f"rejected.{source}.{reason}", n)
            for source, (at, because) in sorted(last.items()):
                _remember(tx, source, at, because)

    def _write(self) -> None:
        while not self._stopped.is_set():
            self._some.wait()
            self._some.clear()
            try:
                self.flush()
            except Exception as error:  # the thread must outlive a surprise
                log.error("action=count_refusals error=%s", type(error).__name__)
            self._stopped.wait(self._seconds)


def _remember(tx: sa.Connection, source: str, at: Milliseconds, because: str) -> None:
    dialect = sqlite if tx.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(doors)
    told = {"refused_at": insert.excluded.refused_at, "refused_because": insert.excluded.refused_because}
    tx.execute(
        insert.on_conflict_do_update(index_elements=[doors.c.source], set_=told),
        {"source": source, "refused_at": at, "refused_because": because},
    )
