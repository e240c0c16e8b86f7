"""Brings a store's tables to what this version of the code expects.

``connector migrate`` and ``connector serve`` call ``upgrade`` before anything else reads the store. The revisions are
the modules of ``connector/migrations``, run by Alembic inside this process: there is no alembic.ini and no env.py,
because the connection, its lock and its transaction are ours.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic.config import Config as AlembicConfig
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError

from connector.errors import ConfigError
from connector.store import Store
from connector.tables import metadata

log = logging.getLogger("connector")
logging.getLogger("alembic").setLevel(logging.WARNING)  # its INFO lines tell of its own workings

REVISIONS: Final = Path(__file__).resolve().parent / "migrations"

ADVISORY_LOCK: Final = 0x636F6E6E6563746F
"""What migrating processes queue for on PostgreSQL: the letters "connecto" as one number."""


def head() -> str:
    """The revision this version of the code works with."""
    newest = _scripts().get_current_head()
    assert newest is not None, "connector/migrations holds no revision"  # noqa: S101 - a broken package, not an input
    return newest


def current(store: Store) -> str | None:
    """The revision the store is at, or None if it was never migrated. Writes nothing, so a read-only store will do."""
    with store.reading() as tx:
        return _current(tx)


def upgrade(store: Store) -> tuple[str, ...]:
    """Bring the store to ``head()``; the revisions applied, oldest first, empty if there was nothing to do.

    All in one transaction under a lock, so that of two processes started at once one migrates and the other finds
    it done; a failed or killed one leaves the store as it was.

    Raises: ConfigError if the store is at a revision this code does not know, or holds other tables of our names;
    StoreUnavailable if it cannot be reached.
    """
    if current(store) == head():
        return ()
    with store.writing() as tx:
        if not store.sqlite:  # on SQLite the transaction itself is the lock
            tx.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        before = _current(tx)
        missing = _missing(tx, before)
        if missing:
            _run(tx)
    if missing:
        log.info("action=migrate from=%s to=%s", before or "nothing", missing[-1])
    return missing


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(REVISIONS), version_locations=[str(REVISIONS)])


def _current(tx: sa.Connection) -> str | None:
    return MigrationContext.configure(tx).get_current_revision()


def _missing(tx: sa.Connection, before: str | None) -> tuple[str, ...]:
    """What lies between the store and head, oldest first."""
    if before is None:
        _refuse_foreign_tables(tx)
    try:
        ahead = list(_scripts().iterate_revisions(head(), before or "base"))
    except ResolutionError as error:
        raise ConfigError(
            f"DATABASE_URL: the database is at revision '{before}', which this version of the connector (revision"
            f" '{head()}') does not know. It was written by a newer version, or belongs to another program: start that"
            " newer version, or give the connector a database of its own"
        ) from error
    return tuple(script.revision for script in reversed(ahead))


def _refuse_foreign_tables(tx: sa.Connection) -> None:
    """Our names are ordinary words; in another program's database they may be taken."""
    taken = sorted(set(sa.inspect(tx).get_table_names()) & set(metadata.tables))
    if taken:
        raise ConfigError(
            f"DATABASE_URL: the database already has tables named {', '.join(taken)} that no migration of the connector"
            " made; give the connector a database of its own"
        )


def _run(tx: sa.Connection) -> None:
    def steps(revision: Any, _context: MigrationContext) -> Any:
        return _scripts()._upgrade_revs("head", revision)  # the one Alembic's own `upgrade` command calls

    with EnvironmentContext(AlembicConfig(), _scripts(), fn=steps, destination_rev="head") as environment:
        environment.configure(connection=tx, target_metadata=metadata)
        environment.run_migrations()
