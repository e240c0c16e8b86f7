"""Migrations: what they make is what ``tables`` says, they run once, and they refuse what they do not know.

Changed tables.py? ``pytest tests/test_migrate.py -k schema`` says what the revisions lack.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext

from connector import migrate
from connector.errors import ConfigError
from connector.store import Store, open_store
from connector.tables import metadata
from tests.postgres import Server

RACER = """
import sys
from connector import migrate
from connector.store import open_store
store = open_store(sys.argv[1])
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
sys.stdout.write(",".join(migrate.upgrade(store)) or "nothing")
"""


@contextmanager
def _never_migrated(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'blank.db'}"
        return
    server: Server = request.getfixturevalue("postgres")
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture(params=["sqlite", "postgres"])
def blank_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database that was never migrated."""
    with _never_migrated(request.param, request, tmp_path) as url:
        yield url


@pytest.fixture
def store_of_tables(store: Store, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Beside ``store``, which the revisions made: one on the same kind of database that ``tables`` made."""
    with _never_migrated("sqlite" if store.sqlite else "postgres", request, tmp_path) as url:
        other = open_store(url)
        with other.writing() as tx:
            metadata.create_all(tx)
        yield other
        other.dispose()


@pytest.fixture
def blank(blank_url: str) -> Iterator[Store]:
    store = open_store(blank_url)
    yield store
    store.dispose()


def test_the_migrated_schema_is_the_schema_of_tables(store: Store, store_of_tables: Store) -> None:
    with store.reading() as tx:
        options = {"compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(tx, opts=options), metadata) == []
        migrated = _definitions(tx)
    with store_of_tables.reading() as tx:
        assert migrated == _definitions(tx)


def _definitions(tx: sa.Connection) -> list[tuple[str, ...]]:
    """Everything the database itself knows of our tables, in its own words."""
    if tx.dialect.name == "sqlite":
        statements = ["select type, name, sql from sqlite_master where tbl_name <> 'alembic_version'"]
    else:
        ours = "schemaname = 'public' and tablename <> 'alembic_version'"
        statements = [
            f"select tablename, indexname, indexdef from pg_indexes where {ours}",
            f"select tablename, tableowner, tablespace from pg_tables where {ours}",
            "select table_name, ordinal_position, column_name, data_type, is_nullable, column_default"
            " from information_schema.columns where table_schema = 'public' and table_name <> 'alembic_version'",
            "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint"
            " where connamespace = 'public'::regnamespace and conrelid::regclass::text <> 'alembic_version'",
            "select sequencename, data_type::text from pg_sequences",
            "select attrelid::regclass::text, attname, attcollation::regcollation::text from pg_attribute"
            " where attrelid::regclass::text in"
            " (select tablename from pg_tables where schemaname = 'public' and tablename <> 'alembic_version')"
            " and attnum > 0 and attcollation <> 0",
        ]
    rows = [row for statement in statements for row in tx.exec_driver_sql(statement)]
    # SQLite keeps the text of a statement: blanks are no difference.
    return sorted(tuple(" ".join(str(told).split()) for told in row) for row in rows)


def test_a_blank_database_is_brought_to_head_once(blank: Store) -> None:
    before = migrate.current(blank)
    applied = migrate.upgrade(blank)
    again = migrate.upgrade(blank)
    everything = ("0001", "0002", "0003", "0004")
    assert (before, applied, migrate.current(blank), again) == (None, everything, migrate.head(), ())


def test_two_processes_that_start_at_once_migrate_once(blank_url: str) -> None:
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, blank_url], stdin=-1, stdout=-1, stderr=-1, text=True)
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = [racer.communicate(timeout=60) for racer in racers]
    assert sorted(answers) == [("0001,0002,0003,0004", ""), ("nothing", ""), ("nothing", "")]


def test_a_database_newer_than_the_code_is_refused_and_left_alone(store: Store) -> None:
    with store.writing() as tx:
        tx.execute(sa.text("update alembic_version set version_num = '9999'"))
    with pytest.raises(ConfigError) as refusal:
        migrate.upgrade(store)
    assert str(refusal.value) == (
        "DATABASE_URL: the database is at revision '9999', which this version of the connector (revision '0004') does"
        " not know. It was written by a newer version, or belongs to another program: start that newer version, or give"
        " the connector a database of its own"
    )
    assert migrate.current(store) == "9999"


def test_a_database_whose_table_names_are_taken_is_refused_and_left_alone(blank: Store) -> None:
    with blank.writing() as tx:
        tx.execute(sa.text("create table messages (theirs text)"))
    with pytest.raises(ConfigError, match="already has tables named messages that no migration of the connector made"):
        migrate.upgrade(blank)
    with blank.reading() as tx:
        assert sa.inspect(tx).get_table_names() == ["messages"]


def test_a_migration_that_fails_half_way_leaves_nothing_behind(blank: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = migrate._run

    def break_at_the_end(tx: sa.Connection) -> None:
        run(tx)
        raise RuntimeError("the power went")

    monkeypatch.setattr(migrate, "_run", break_at_the_end)
    with pytest.raises(RuntimeError, match="the power went"):
        migrate.upgrade(blank)
    with blank.reading() as tx:
        assert sa.inspect(tx).get_table_names() == []


def test_the_revision_can_be_read_from_a_store_opened_for_reading_only(store_url: str) -> None:
    store = open_store(store_url, read_only=True)
    assert migrate.current(store) == migrate.head()
    store.dispose()


BEFORE = {
    "messages": "(id, source, message_id, type, vendor, at, received_at, authenticated, outcome, reason) values"
    " (1, 'segment', 'm1', 'identify', null, 10, 10, true, 'learned', ''),"
    " (2, 'segment', 'm2', 'track', 'klaviyo', 20, 20, true, 'held', '')",
    "identifiers": "(id, type, value, first_at, first_message, last_at, carried_at, component_id, profile_hash) values"
    " (1, 'email', 'a@x.test', 10, 'segment/m1', 20, 10, 1, 'h1'),"
    " (2, 'anonymous_id', 'B1', 10, 'segment/m1', 10, 10, null, 'h2')",
    "links": "(a_id, b_id, kind, browser, first_at, first_message) values (1, 2, 'declared', true, 10, 'segment/m1')",
    "sightings": "(a_id, b_id, kind, minute, browser, first_at, first_message, last_at, last_message) values"
    " (1, 2, 'declared', 0, true, 10, 'segment/m1', 10, 'segment/m1')",
    "mentions": "(identifier_id, at, message) values (1, 10, 1), (2, 10, 1), (1, 20, 2)",
}


def test_a_database_of_the_first_version_keeps_what_it_knows(blank: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as first:
        first.setattr(migrate, "head", lambda: "0001")
        first.setattr(migrate, "_run", partial(_run_to, "0001"))
        migrate.upgrade(blank)
    with blank.writing() as tx:
        for table, rows in BEFORE.items():
            tx.exec_driver_sql(f"insert into {table} {rows}")
    assert migrate.upgrade(blank) == ("0002", "0003", "0004")
    with blank.reading() as tx:
        told = [tuple(row) for row in tx.exec_driver_sql("select id, identifiers, taught from messages order by id")]
        assert [(one, sorted(orjson.loads(ids)), taught) for one, ids, taught in told] == [
            (1, [1, 2], None),
            (2, [1], None),
        ]
        said = tx.exec_driver_sql(
            "select identifier_id, message, said_by from mentions order by message, identifier_id"
        )
        assert [tuple(row) for row in said] == [(1, 1, 1), (2, 1, 1), (1, 2, 0)]
        standing = tx.exec_driver_sql("select stands, apart from links union all select stands, apart from sightings")
        assert [tuple(map(bool, row)) for row in standing] == [(True, False), (True, False)]


def _run_to(revision: str, tx: sa.Connection) -> None:
    def steps(before: Any, _context: MigrationContext) -> Any:
        return migrate._scripts()._upgrade_revs(revision, before)

    with EnvironmentContext(AlembicConfig(), migrate._scripts(), fn=steps, destination_rev=revision) as environment:
        environment.configure(connection=tx, target_metadata=metadata)
        environment.run_migrations()
