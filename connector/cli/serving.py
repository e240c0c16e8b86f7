"""The processes: ``serve``, ``web``, ``worker``, and ``migrate`` before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from connector.errors import ConfigError

if TYPE_CHECKING:
    from flask import Flask

    from connector.config import Config
    from connector.store import Store
    from connector.worker import Worker


@click.command()
def serve() -> None:
    """Receive, stitch and deliver, in one process.

    Without any configuration it makes a file .env with fresh secrets here and says what to paste into Segment; then
    it listens on http://127.0.0.1:8080 and stores in connector.db. SIGTERM or Ctrl-C stop it cleanly.

    \b
    Examples:
      connector serve
      PORT=9000 connector serve
    """
    from connector import serving
    from connector.cli import env_file, logs, opening, welcome

    begun = _first_start()
    config = opening.settings()
    opening.require_durable(config)
    if not opening.exists(config):
        serving.check_port(config.host, config.port)  # before anything is made
    _prepare(config)
    for sentence in env_file.misspelt(env_file.named_by_mappings(config)):
        click.secho(f"Warning: {sentence}", fg="yellow")
    click.echo(welcome.first(begun, config) if begun else welcome.again(config))
    logs.start()
    serving.serve(config, make_worker, make_app)
    click.echo("Stopped; nothing is lost.")


@click.command()
def web() -> None:
    """Receive only, in a few processes beside `connector worker`; needs PostgreSQL.

    \b
    Example:
      DATABASE_URL=postgresql://… PORT=8000 connector web
    """
    from connector import bootstrap, serving
    from connector.cli import logs, opening

    config = opening.settings()
    _require_postgresql(config, "web")
    bootstrap.open_house(config)  # a mistake in a mapping is told here, not by every child
    _require_ready(config)
    logs.start()
    serving.web(config, make_app)


@click.command()
def worker() -> None:
    """Stitch and deliver, beside `connector web`; needs PostgreSQL. Any number may run.

    \b
    Example:
      DATABASE_URL=postgresql://… connector worker
    """
    import signal
    import threading

    from connector.cli import logs, opening
    from connector.store import open_store

    config = opening.settings()
    _require_postgresql(config, "worker")
    _require_ready(config)
    logs.start()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    store = open_store(config.database_url)
    running = make_worker(config, store)
    running.start()
    try:
        stop.wait()
    finally:
        running.stop()
        store.dispose()


@click.command()
def migrate() -> None:
    """Bring the database to this version; with nothing to do it does nothing.

    \b
    Example:
      connector migrate
    """
    from connector.cli import opening

    config = opening.settings()
    opening.require_durable(config)
    applied = _prepare(config)
    click.echo(f"{opening.shown(config)}: {'now at revision ' + applied[-1] if applied else 'nothing to do'}")


def make_app(config: Config, store: Store) -> Flask:
    """The doors and the inspector, in the process that serves them."""
    from connector import bootstrap, inspector
    from connector.app import create_app
    from connector.cli import logs

    logs.start()
    house = bootstrap.open_house(config)
    return create_app(config, store, mappings=house.mappings, blueprints=inspector.blueprints(config, store, house))


def make_worker(config: Config, store: Store) -> Worker:
    """The worker's threads, in the process that runs them."""
    from connector import bootstrap
    from connector.worker import Worker

    return Worker(config, store, bootstrap.open_house(config).mappings)


def _first_start() -> str | None:
    """What was done to ``.env`` where there was no secret and no database yet; None if nothing was."""
    from connector import config as configuration
    from connector import serving
    from connector.cli import env_file, opening

    there = env_file.ENV.exists()
    if env_file.has_secret() or (configuration.configured(also=env_file.shipped_variables()) and not there):
        return None
    config = env_file.without_secret()
    if not config.sqlite or opening.exists(config):
        return None  # it may have had a secret: `settings` says what to do
    opening.require_durable(config)
    serving.check_port(config.host, config.port)
    return env_file.complete() if there else env_file.make()


def _prepare(config: Config) -> tuple[str, ...]:
    """The store at this version, sure of its secret and its rules. Mappings are read first: they may be refused."""
    from connector import bootstrap
    from connector.cli import opening
    from connector.lock import StoreLock
    from connector.store import open_store

    house = bootstrap.open_house(config)
    store = open_store(config.database_url)
    lock = StoreLock(config.database_url) if config.sqlite else None
    try:
        if lock and opening.needs_lock(store, house):
            lock.acquire()  # whoever serves this file does not expect its tables to change
        return opening.prepare(config, store, house)
    finally:
        store.dispose()
        if lock:
            lock.release()


def _require_postgresql(config: Config, command: str) -> None:
    if config.sqlite:
        raise ConfigError(
            f"DATABASE_URL: connector {command} needs PostgreSQL, because a SQLite file is served by one process only;"
            " set DATABASE_URL to postgresql://…, or use `connector serve`"
        )


def _require_ready(config: Config) -> None:
    from connector.cli import opening
    from connector.keys import Keys
    from connector.store import open_store

    store = open_store(config.database_url)
    try:
        opening.require_migrated(store)
        opening.check_secret(store, Keys(config.secret))
    finally:
        store.dispose()
