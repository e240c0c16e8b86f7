"""Opens configuration, store and house for a command, and refuses what would do harm.

Reading commands open the store read-only and never create one. Changing commands add messages to the inbox; where
nobody serves a SQLite file they hold its lock and do the work themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import sqlalchemy as sa

from connector import bootstrap, bulk, migrate
from connector import config as configuration
from connector.answers.check import FINGERPRINT
from connector.config import Config
from connector.errors import ConfigError
from connector.house import House
from connector.keys import Keys
from connector.lock import StoreLock
from connector.messages import now_ms
from connector.store import Store, open_store
from connector.tables import facts
from connector.worker import stitch_once

NOT_OURS: Final = (
    "CONNECTOR_SECRET: it is not the one this database was made with, and every id in it depends on that. Put the .env"
    " back that belongs to the database, or set DATABASE_URL to a new one"
)
ORPHANED: Final = (
    "CONNECTOR_SECRET: the database '{}' exists, but the secret it was made with is gone. Put the .env back that"
    " belongs to it; or, to begin anew, move the database away. Nothing was changed"
)
NOTHING_HERE: Final = (
    "there is neither a .env here nor a setting in the environment: run this in the folder where `connector serve`"
    " runs; the first `connector serve` makes a .env"
)
EPHEMERAL: Final = (
    "DATABASE_URL: this platform empties its disk at every restart, and a SQLite file with it. Attach a PostgreSQL"
    " database (heroku addons:create heroku-postgresql), which sets DATABASE_URL"
)


@dataclass(frozen=True, slots=True)
class Desk:
    """An opened store and what a command needs to work with it. alone: nobody serves it, so the command acts itself."""

    config: Config
    store: Store
    house: House
    alone: bool = False

    def learn(self, each: Callable[[int], None] = lambda _: None) -> None:
        """Stitch everything that waits, if nobody else will."""
        while self.alone and (n := stitch_once(self.store, self.house, now_ms())):
            each(n)


def settings() -> Config:
    """The configuration.

    Raises: ConfigError naming every variable that is wrong.
    """
    if configuration.configured():
        return configuration.read()
    refuse_orphan()
    try:
        return configuration.read()
    except ConfigError as error:
        raise ConfigError(*error.mistakes, NOTHING_HERE) from None


def refuse_orphan() -> None:
    """A database without its secret is never given another one.

    Raises: ConfigError if there is one here.
    """
    database = Path(configuration.DEFAULTS["DATABASE_URL"].removeprefix("sqlite:///"))
    if database.exists():
        raise ConfigError(ORPHANED.format(database))


@contextmanager
def reading(*, quiet: bool = False) -> Iterator[Desk]:
    """The store, read-only.

    Raises: ConfigError if there is none, or it is not ours to read.
    """
    config = settings()
    house = bootstrap.open_house(config)
    _require_file(config)
    store = open_store(config.database_url, read_only=True)
    try:
        require_migrated(store)
        check_secret(store, house.keys)
        if not quiet:
            click.echo(f"reading {shown(config)}", err=True)
        yield Desk(config, store, house)
    finally:
        store.dispose()


@contextmanager
def changing(*, create: bool = False) -> Iterator[Desk]:
    """The store, to add messages to its inbox; with its lock if nobody serves it.

    Args: create says whether a SQLite database that is not there may be made.
    """
    config = settings()
    house = bootstrap.open_house(config)
    if not create:
        _require_file(config)
    lock = StoreLock(config.database_url) if config.sqlite else None
    alone = lock is not None and _acquired(lock)
    store = open_store(config.database_url)
    try:
        if alone:
            prepare(config, store)
        else:
            require_migrated(store)
            check_secret(store, house.keys)
        yield Desk(config, store, house, alone)
    finally:
        store.dispose()
        if lock:
            lock.release()


def prepare(config: Config, store: Store) -> tuple[str, ...]:
    """Bring the store to this version and make it remember its secret; the revisions applied.

    Raises: ConfigError if it belongs to another secret or a newer version.
    """
    keys = Keys(config.secret)
    if migrate.current(store) is not None:
        check_secret(store, keys)  # before anything is changed
    applied = migrate.upgrade(store)
    if check_secret(store, keys):
        return applied
    with store.writing() as tx:
        bulk.insert_rows(
            tx, facts, ("name", "value"), [(FINGERPRINT, keys.fingerprint)], "on conflict (name) do nothing"
        )
    check_secret(store, keys)  # another process may have been first
    return applied


def check_secret(store: Store, keys: Keys) -> bool:
    """Does the store know its secret? False if nobody told it yet.

    Raises: ConfigError if it is another one.
    """
    with store.reading() as tx:
        known = tx.execute(sa.select(facts.c.value).where(facts.c.name == FINGERPRINT)).scalar()
    if known is not None and known != keys.fingerprint:
        raise ConfigError(NOT_OURS)
    return known is not None


def require_migrated(store: Store) -> None:
    """Is the store fit to be read by this version? A newer one is: migrations only add.

    Raises: ConfigError saying what to run.
    """
    current = migrate.current(store)
    if current is None or current < migrate.head():
        raise ConfigError("DATABASE_URL: the database has not been brought to this version; run `connector migrate`")


def require_durable(config: Config) -> None:
    """Raises: ConfigError if the store would vanish with the next restart."""
    if config.sqlite and config.ephemeral_disk:
        raise ConfigError(EPHEMERAL)


def shown(config: Config) -> str:
    """The database, without its password."""
    url = sa.make_url(config.database_url)
    if config.sqlite:
        return f"{url.database} (SQLite)"
    return f"{url.database} on {url.host or 'this machine'} (PostgreSQL)"


def exists(config: Config) -> bool:
    """Is there a database file? Of a PostgreSQL database only asking it can tell."""
    return not config.sqlite or Path(sa.make_url(config.database_url).database or "").is_file()


def _require_file(config: Config) -> None:
    if not exists(config):
        file = sa.make_url(config.database_url).database
        raise ConfigError(
            f"DATABASE_URL: there is no database '{file}'; run this in the folder where `connector serve` runs, or set"
            " DATABASE_URL"
        )


def _acquired(lock: StoreLock) -> bool:
    try:
        lock.acquire()
    except ConfigError:
        return False
    return True
