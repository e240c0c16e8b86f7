"""Opens configuration, store and house for a command, and refuses what would do harm.

Reading commands open the store read-only and never create one. Changing commands add messages to the inbox; where
nobody serves a SQLite file they hold its lock and do the work themselves.
"""

from __future__ import annotations

import os
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
from connector.cli import env_file, progress
from connector.config import Config
from connector.errors import ConfigError, StoreUnavailable
from connector.house import House
from connector.keys import Keys
from connector.lock import StoreLock
from connector.messages import now_ms
from connector.store import Store, open_store
from connector.tables import facts
from connector.worker import ADOPTED, adopt_rules, knows_rules, stitch_once

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
    try:
        return configuration.read()
    except ConfigError as error:
        if env_file.has_secret():
            raise
        others = [mistake for mistake in error.mistakes if not mistake.startswith(env_file.SECRET)]
        missing = [mistake for mistake in error.mistakes if mistake not in others]
        raise ConfigError(*others, *(_instead() or missing)) from None


def _instead() -> list[str]:
    """What somebody without a secret should rather know, if anything."""
    file = env_file.database_file()
    if file is not None and file.exists():
        return [ORPHANED.format(file.resolve())]
    return [] if configuration.configured(also=env_file.shipped_variables()) else [NOTHING_HERE]


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
        _require_readable(config, store)
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
            prepare(config, store, house)
        else:
            require_migrated(store)
            check_secret(store, house.keys)
        yield Desk(config, store, house, alone)
    finally:
        store.dispose()
        if lock:
            lock.release()


@contextmanager
def exclusive() -> Iterator[Desk]:
    """The store, for what nobody else may see half done: on SQLite nobody serves it meanwhile.

    Raises: ConfigError naming the process that serves it.
    """
    config = settings()
    house = bootstrap.open_house(config)
    _require_file(config)
    lock = StoreLock(config.database_url) if config.sqlite else None
    if lock:
        lock.acquire()
    store = open_store(config.database_url)
    try:
        if lock:
            prepare(config, store, house)
        else:
            require_migrated(store)
            check_secret(store, house.keys)
            adopt(store, house)
        yield Desk(config, store, house, alone=True)
    finally:
        store.dispose()
        if lock:
            lock.release()


def prepare(config: Config, store: Store, house: House) -> tuple[str, ...]:
    """Bring the store to this version, secret and rules; the revisions applied.

    Raises: ConfigError if it belongs to another secret or a newer version.
    """
    applied = _prepare(config, store)
    adopt(store, house)
    return applied


def adopt(store: Store, house: House) -> None:
    """Derive everything again if identity.toml changed since it was, and say so."""
    with progress.steps(store) as told:
        changed = adopt_rules(store, house, told)
    if changed:
        click.echo(f"{ADOPTED}.", err=True)


def needs_lock(store: Store, house: House) -> bool:
    """Would preparing this store change what its serving process relies on?"""
    return migrate.current(store) != migrate.head() or not knows_rules(store, house)


def _prepare(config: Config, store: Store) -> tuple[str, ...]:
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
        return f"{_file(config).resolve()} (SQLite)"
    return f"{url.database} on {url.host or 'this machine'} (PostgreSQL)"


def exists(config: Config) -> bool:
    """Is there a database file? Of a PostgreSQL database only asking it can tell."""
    return not config.sqlite or _file(config).is_file()


def _file(config: Config) -> Path:
    return Path(sa.make_url(config.database_url).database or "")


def _require_file(config: Config) -> None:
    if not exists(config):
        raise ConfigError(
            f"DATABASE_URL: there is no database '{_file(config).resolve()}'; run this in the folder where `connector"
            " serve` runs, or set DATABASE_URL"
        )


def _require_readable(config: Config, store: Store) -> None:
    """Raises: ConfigError if it is not migrated, or if we may not make the two files that SQLite needs beside it."""
    try:
        require_migrated(store)
    except StoreUnavailable:
        file = _file(config).resolve()
        if not config.sqlite or (os.access(file, os.R_OK) and os.access(file.parent, os.W_OK)):
            raise
        raise ConfigError(
            f"DATABASE_URL: '{file}' cannot be read: while nobody serves it, SQLite makes two files beside it even to"
            " read. Run this as the user who runs `connector serve`, or give yourself write permission on"
            f" {file.parent}"
        ) from None


def _acquired(lock: StoreLock) -> bool:
    try:
        lock.acquire()
    except ConfigError:
        return False
    return True
