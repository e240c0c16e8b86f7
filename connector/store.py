"""How to reach the tables: one store, and two ways to begin a transaction.

Doors begin transactions with ``reading`` and ``writing``; stages take the connection as their first argument and
never commit.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from connector.errors import StoreUnavailable
from connector.lock import private_file

LOCK_SECONDS: Final = 3.5
"""How long a writer waits for the store before it says 503: Customer.io hangs up after 4 s, Segment after 5."""


POSTGRESQL: Final = (
    "synchronous_commit=on",  # committed means on disk: 200 is a promise
    "jit=off",  # it compiles for 60 ms what runs for two
    "timezone=UTC",
    # A worker that stalls, or whose machine vanished, must not keep the lease that all the others wait for.
    "lock_timeout=30s",
    "idle_in_transaction_session_timeout=60s",
    "tcp_keepalives_idle=30",
    "tcp_keepalives_interval=10",
    "tcp_keepalives_count=3",
)


READ_ONLY: Final = (
    "default_transaction_read_only=on",
    "idle_in_transaction_session_timeout=0",  # what-if compares for minutes between two questions, and blocks nobody
)


class Store:
    """An engine, and the two ways to begin a transaction.

    On SQLite writers of this process queue for one lock in memory before they ask the file for its own: SQLite
    lets waiters sleep and poll, which costs seconds of tail when several threads write.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.sqlite = engine.dialect.name == "sqlite"
        self._writer = _Turns()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One consistent snapshot, never blocked by a writer."""
        with _translated(), self.engine.connect() as connection:
            begin = "begin" if self.sqlite else "set transaction isolation level repeatable read, read only"
            connection.exec_driver_sql(begin)
            yield connection

    @contextmanager
    def writing(self, timeout_seconds: float = 30.0) -> Iterator[sa.Connection]:
        """A transaction that is on disk when the block ends, and never happened if the block raises.

        Raises: StoreUnavailable if the store cannot be written in time.
        """
        if not self.sqlite:
            with _translated(), self.engine.begin() as connection:
                yield connection
            return
        if not self._writer.acquire(timeout_seconds):
            raise StoreUnavailable("the store is busy; try again")
        try:
            with _translated(), self.engine.connect() as connection:
                connection.exec_driver_sql("begin immediate")
                try:
                    yield connection
                except BaseException:
                    connection.exec_driver_sql("rollback")
                    raise
                connection.exec_driver_sql("commit")
        finally:
            self._writer.release()

    def empty_log(self) -> None:
        """Write SQLite's log into the file and cut it: what was erased can be read in it until it is overwritten."""
        if self.sqlite and self._writer.acquire(LOCK_SECONDS):
            try:
                with _translated(), self.engine.connect() as connection:
                    connection.exec_driver_sql("pragma wal_checkpoint(truncate)")
            finally:
                self._writer.release()

    def dispose(self) -> None:
        self.engine.dispose()


class _Turns:
    """A lock whose waiters get it in the order they came.

    A plain lock goes to whoever is running, which is the stitcher that has just released it: with one, requests
    that waited to be acknowledged behind batches were passed over again and again.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._taken = False

    def acquire(self, timeout_seconds: float) -> bool:
        with self._mutex:
            if not self._taken:
                self._taken = True
                return True
            mine = threading.Event()
            self._waiting.append(mine)
        if mine.wait(timeout_seconds):
            return True
        with self._mutex:
            if mine.is_set():  # handed over in the last moment
                return True
            self._waiting.remove(mine)
            return False

    def release(self) -> None:
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().set()  # stays taken: the next one has it
            else:
                self._taken = False


@contextmanager
def _translated() -> Iterator[None]:
    """A store that is gone, locked, full or read-only is one thing to its callers: unavailable."""
    try:
        yield
    except sa.exc.OperationalError as error:
        raise StoreUnavailable(f"the store did not answer: {_first_line(error)}") from error
    except sa.exc.TimeoutError as error:
        raise StoreUnavailable("the store has no free connection") from error


def _first_line(error: DBAPIError) -> str:
    """The driver's own words without the statement and its values, which may hold addresses."""
    return str(error.orig).strip().split("\n")[0][:200]


def open_store(database_url: str, *, read_only: bool = False) -> Store:
    """The store behind a DATABASE_URL as ``config`` normalised it. Nothing is created or migrated here."""
    if database_url.startswith("sqlite"):
        return Store(_sqlite(database_url, read_only))
    settings = POSTGRESQL + (READ_ONLY if read_only else ())
    return Store(
        sa.create_engine(
            database_url,
            pool_size=20,
            max_overflow=10,
            pool_timeout=LOCK_SECONDS,
            pool_pre_ping=True,
            connect_args={
                "options": " ".join(f"-c {setting}" for setting in settings),
                "connect_timeout": 3,
                "keepalives_idle": 30,
                "application_name": "connector",
            },
        )
    )


def _sqlite(database_url: str, read_only: bool) -> sa.Engine:
    url = sa.make_url(database_url)
    if read_only:
        url = url.set(database=f"file:{url.database}").update_query_dict({"mode": "ro", "uri": "true"})
    else:
        private_file(database_url)
    engine = sa.create_engine(
        url,
        poolclass=sa.pool.QueuePool,
        pool_size=8,
        max_overflow=56,
        pool_use_lifo=True,  # the connections with warm caches first
        connect_args={"check_same_thread": False, "timeout": LOCK_SECONDS, "isolation_level": None},
    )

    @sa.event.listens_for(engine, "connect")
    def _settings(connection: Any, _record: Any) -> None:
        if not read_only:
            _write_ahead(connection)
        for pragma in (
            f"query_only={int(read_only)}",
            "synchronous=full",  # committed means on disk: 200 is a promise
            "foreign_keys=off",
            "cache_size=-32768",
            "secure_delete=on",  # what is erased is overwritten
            "temp_store=memory",
            "mmap_size=268435456",
            "wal_autocheckpoint=16000",  # pages: a large store is touched all over, and a page may be again
        ):
            connection.execute(f"pragma {pragma}")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """WAL mode, which a file keeps. SQLite does not wait for the lock this takes the first time, so of two
    processes that open a new file at once one would fail.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.execute("pragma journal_mode=wal")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
