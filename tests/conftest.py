"""What every test may ask for: a migrated, empty store, on SQLite, on a real PostgreSQL, or on each in turn."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from connector import config, mapping, migrate, resources
from connector.cli.env_file import shipped_variables
from connector.config import DEFAULTS
from connector.demo.segment import SegmentStandIn
from connector.house import House, build
from connector.keys import Keys
from connector.store import Store, open_store
from tests.postgres import NoPostgres, Server, running_server
from tests.running import WRITE_KEY

IN_CI = bool(os.environ.get("CI"))

# A developer's own settings must not reach the code under test, whatever shell the tests were started from.
for _name in (*DEFAULTS, *shipped_variables(), "DYNO"):
    os.environ.pop(_name, None)

# No deadlines, because a busy machine is not a bug; in CI the same examples every time, elsewhere new ones.
hypothesis.settings.register_profile("connector", deadline=None, derandomize=IN_CI, print_blob=True)
hypothesis.settings.load_profile("connector")

_postgres_used: list[str] = []
_no_postgres: list[str] = []


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A running PostgreSQL server, the same one for the whole run."""
    try:
        with running_server() as server:
            _postgres_used.append(server.origin)
            yield server
    except NoPostgres as reason:
        _no_postgres.append(str(reason))
        if IN_CI:  # there, half a suite that looks green is worse than a red one
            raise
        pytest.skip(f"no PostgreSQL: {reason}")


@pytest.fixture(scope="session")
def _postgres_template(postgres: Server) -> Iterator[str]:
    url = postgres.create()
    _migrate(url)
    yield url
    postgres.drop(url)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "connector.db"
    _migrate(f"sqlite:///{file}")
    return file


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    """The DATABASE_URL of a migrated, empty SQLite file."""
    return f"sqlite:///{shutil.copy(_sqlite_template, tmp_path / 'connector.db')}"


@pytest.fixture
def postgres_url(postgres: Server, _postgres_template: str) -> Iterator[str]:
    """The DATABASE_URL of a migrated, empty PostgreSQL database."""
    url = postgres.create(template=_postgres_template)
    yield url
    postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The DATABASE_URL of a migrated, empty store; the test runs once on each database."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Iterator[Store]:
    """A migrated, empty store on SQLite."""
    yield from _opened(sqlite_url)


@pytest.fixture
def postgres_store(postgres_url: str) -> Iterator[Store]:
    """A migrated, empty store on PostgreSQL."""
    yield from _opened(postgres_url)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A migrated, empty store; the test runs once on each database."""
    yield from _opened(store_url)


@pytest.fixture
def house() -> House:
    """The house with the shipped mappings, a tenant's secret, and no vendor's own webhook configured."""
    settings = config.read({"CONNECTOR_SECRET": "0123456789abcdef" * 2}, Path("no.env"))
    shipped = mapping.load(resources.shipped_mappings(), None, Keys(settings.secret).prefix)
    return build(settings, shipped)


@pytest.fixture
def segment() -> Iterator[SegmentStandIn]:
    """A stand-in for Segment on loopback that enforces the contract of its tracking API."""
    with SegmentStandIn(WRITE_KEY) as stand_in:
        yield stand_in


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for origin in _postgres_used:
        terminalreporter.line(f"tested on {origin}")
    if _no_postgres:
        terminalreporter.section("NOTHING WAS TESTED ON POSTGRESQL", sep="!", red=True, bold=True)
        terminalreporter.line(_no_postgres[0])


def _opened(url: str) -> Iterator[Store]:
    store = open_store(url)
    yield store
    store.dispose()


def _migrate(url: str) -> None:
    store = open_store(url)
    migrate.upgrade(store)
    store.dispose()  # SQLite empties its write-ahead log into the file, PostgreSQL lets the database be copied
