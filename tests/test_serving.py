"""``connector serve`` as a real process on loopback: one child, one lock, one port, and every way to end them."""

from __future__ import annotations

import hashlib
import hmac
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Blueprint, Flask

from connector import config, migrate, serving
from connector.app import create_app
from connector.bodies import READERS
from connector.errors import ConfigError
from connector.lock import StoreLock, private_file
from connector.receive import CROWDED
from connector.store import Store, open_store

BOUND_SECONDS = 20
ROOT = Path(__file__).resolve().parent.parent


class Diary:
    """A worker that does nothing but write down that it was started and stopped, and by whom."""

    def __init__(self, config: config.Config, store: Store) -> None:
        self.store = store
        self.file = Path(f"{config.database_url.removeprefix('sqlite:///')}.diary")

    def start(self) -> None:
        if Path(f"{self.file}.readonly").exists():
            with self.store.writing() as tx:
                tx.exec_driver_sql("pragma query_only = on")
                tx.exec_driver_sql("delete from heartbeats")
        self._note("started")

    def stop(self) -> None:
        self._note("stopped")

    def _note(self, word: str) -> None:
        with self.file.open("a") as file:
            file.write(f"{word} {os.getpid()}\n")


def slow_app(config: config.Config, store: Store) -> Flask:
    """The application, and a view that answers when the test lets it."""
    if "END_SECONDS" in os.environ:
        vars(serving).update(END_SECONDS=float(os.environ["END_SECONDS"]))
    more = Blueprint("more", __name__)

    @more.get("/slow/<path:gate>")
    def slow(gate: str) -> str:
        Path(f"/{gate}.asked").touch()
        wait_for(lambda: Path(f"/{gate}.open").exists())
        return "done"

    @more.get("/pid")
    def pid() -> str:
        return str(os.getpid())

    return create_app(config, store, blueprints=[more])


def main() -> None:
    """What a served process runs."""
    try:
        settings = config.read(env_file=Path("/nonexistent/.env"))
        if "--web" in sys.argv:
            serving.web(settings, slow_app)
        else:
            serving.serve(settings, Diary, slow_app)
    except ConfigError as error:
        sys.exit(str(error))


def wait_for(happened: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + BOUND_SECONDS
    while not (result := happened()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return result


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Served:
    """A process that serves a database on a port, started and watched by a test."""

    def __init__(self, url: str, port: int, *arguments: str, **variables: str) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.database = Path(url.removeprefix("sqlite:///"))
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by clean_up
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": url,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "CONNECTOR_SECRET": "0123456789abcdef",
            "SOURCE_WRITE_KEYS": "write-key",
            "SEGMENT_SHARED_SECRETS": "shared-secret",
            **variables,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", "from tests.test_serving import main; main()", *arguments],
            env=environment,
            stdout=self.output,  # a file: a child that outlives its parent would keep a pipe open
            stderr=subprocess.STDOUT,
        )

    def up(self) -> Served:
        wait_for(self._answers)
        return self

    def child(self) -> int:
        return int(requests.get(f"{self.base}/pid", timeout=BOUND_SECONDS).text)

    def track(self, message_id: str, **more: Any) -> requests.Response:
        body = f'{{"messageId":"{message_id}","writeKey":"write-key"}}'
        return requests.post(f"{self.base}/v1/track", data=body, timeout=BOUND_SECONDS, **more)

    def stalled(self, path: str = "/v1/track", length: int = 1_000) -> socket.socket:
        """A connection whose sender has begun a body and says no more."""
        one = socket.create_connection(("127.0.0.1", int(self.base.rpartition(":")[2])), BOUND_SECONDS)
        one.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{{".encode())
        return one

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        status = self.process.wait(timeout=BOUND_SECONDS)
        self.output.seek(0)
        return status, self.output.read().decode()

    def clean_up(self) -> None:
        """Leave nothing running, however the test failed."""
        self.process.kill()
        self.process.wait()
        self.output.close()
        if Path(f"{self.database}.diary").exists():
            for child in {int(pid) for _, pid in self.diary()}:
                with suppress(OSError):
                    if b"tests.test_serving" in Path(f"/proc/{child}/cmdline").read_bytes():
                        os.kill(child, signal.SIGKILL)

    def diary(self) -> list[list[str]]:
        return [line.split() for line in Path(f"{self.database}.diary").read_text().splitlines()]

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.ended()
        try:
            return requests.get(f"{self.base}/healthz", timeout=1).status_code == 200
        except requests.RequestException:
            return False


@pytest.fixture
def start() -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def run(url: str, port: int, *arguments: str, **variables: str) -> Served:
        started.append(Served(url, port, *arguments, **variables))
        return started[-1]

    yield run
    for one in started:
        one.clean_up()


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


Start = Callable[..., Served]


def test_one_child_serves_works_and_holds_the_lock(start: Start, sqlite_url: str) -> None:
    served = start(sqlite_url, free_port()).up()
    child = served.child()
    assert child != served.process.pid
    assert served.diary() == [["started", str(child)]]
    assert Path(f"{served.database}.lock").read_text() == f"{child}\n{served.process.pid}\n"
    with pytest.raises(ConfigError, match=f"process {served.process.pid} already serves this database"):
        StoreLock(sqlite_url).acquire()
    assert served.track("a", params={"secret": "in-the-query"}).json() == {"success": True}
    status, output = served.end()
    assert status == 0
    assert "in-the-query" not in output
    assert served.diary() == [["started", str(child)], ["stopped", str(child)]]
    StoreLock(sqlite_url).acquire()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_finishes_the_request_and_takes_no_more(
    start: Start, sqlite_url: str, tmp_path: Path, number: int
) -> None:
    served = start(sqlite_url, free_port()).up()
    heard: list[str] = []
    gate = tmp_path / "gate"
    asking = threading.Thread(
        target=lambda: heard.append(requests.get(f"{served.base}/slow{gate}", timeout=BOUND_SECONDS).text)
    )
    asking.start()
    wait_for(gate.with_suffix(".asked").exists)
    served.process.send_signal(number)
    wait_for(lambda: not served._answers())
    gate.with_suffix(".open").touch()
    asking.join()
    assert served.ended()[0] == 0
    assert heard == ["done"]
    assert [word for word, _ in served.diary()] == ["started", "stopped"]


def test_a_stop_ends_the_work_at_once_and_not_after_the_last_request(start: Start, sqlite_url: str) -> None:
    served = start(sqlite_url, free_port()).up()
    body = b'{"messageId":"slow","writeKey":"write-key"}'
    with served.stalled(length=len(body)) as one:
        assert served.track("a").ok  # began later, so the stalled one has its thread by now
        served.process.send_signal(signal.SIGTERM)
        wait_for(lambda: len(served.diary()) == 2)
        one.sendall(body[1:])
        assert one.makefile("rb").read().startswith(b"HTTP/1.1 200")
    assert served.ended()[0] == 0
    assert [word for word, _ in served.diary()] == ["started", "stopped"]


def test_a_stop_ends_cleanly_although_a_request_stalls(start: Start, sqlite_url: str) -> None:
    served = start(sqlite_url, free_port(), END_SECONDS="1").up()
    with served.stalled() as one:
        assert served.track("a").ok
        assert served.end()[0] == 0
        assert one.recv(4096) == b""
    assert [word for word, _ in served.diary()] == ["started", "stopped"]
    assert not Path(f"{served.database}-wal").exists(), "it was killed, and did not close its store"
    StoreLock(sqlite_url).acquire()


def test_senders_that_stall_leave_room_for_the_others_and_always_for_health(start: Start, sqlite_url: str) -> None:
    served = start(sqlite_url, free_port()).up()
    with ExitStack() as stalled:
        for number in range(40):
            stalled.enter_context(served.stalled("/webhooks/segment" if number % 2 else "/v1/track"))
        assert requests.get(f"{served.base}/healthz", timeout=BOUND_SECONDS).status_code == 200
        body = b'{"messageId":"signed","type":"page","anonymousId":"A1"}'
        signature = hmac.new(b"shared-secret", body, hashlib.sha1).hexdigest()
        signed = requests.post(
            f"{served.base}/webhooks/segment", body, headers={"X-Signature": signature}, timeout=BOUND_SECONDS
        )
        assert signed.json() == {"stored": 1, "duplicates": 0}
        for _ in range(2 * READERS):
            stalled.enter_context(served.stalled())
        (refused,) = wait_for(lambda: [answer for answer in [served.track("a")] if not answer.ok])
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert refused.json() == {"message": CROWDED}
        assert requests.get(f"{served.base}/healthz", timeout=BOUND_SECONDS).status_code == 200
        assert requests.get(f"{served.base}/metrics", timeout=BOUND_SECONDS).status_code == 200
    wait_for(lambda: served.track("a").ok)
    assert served.end()[0] == 0


def test_a_store_that_cannot_be_written_is_said_in_a_sentence(start: Start, sqlite_url: str) -> None:
    Path(f"{sqlite_url.removeprefix('sqlite:///')}.diary.readonly").touch()
    status, output = start(sqlite_url, free_port()).ended()
    assert status == 1
    assert "action=serve error=the store did not answer: attempt to write a readonly database" in output
    assert "Traceback" not in output


def test_only_web_listens_to_everybody_where_a_platform_sets_the_port(tmp_path: Path) -> None:
    """Told from the address that it refuses to share, so that nothing here ever listens on another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = {"CONNECTOR_SECRET": "0123456789abcdef", "PORT": str(taken.getsockname()[1])}
        database = f"sqlite:///{tmp_path / 'connector.db'}"
        embedded = config.read({**settings, "DATABASE_URL": database}, tmp_path / ".env")
        with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:"):
            serving.serve(embedded, Diary)
        platform = config.read({**settings, "DATABASE_URL": "postgresql://h/d"}, tmp_path / ".env")
        with pytest.raises(ConfigError, match=r"cannot listen on 0\.0\.0\.0:"):
            serving.web(platform)


@pytest.mark.parametrize("number", [signal.SIGINT, *[signal.SIGTERM] * 5])
def test_a_stop_that_parent_and_child_hear_is_one_stop(start: Start, sqlite_url: str, number: int) -> None:
    """Terminals and platforms signal every process of the group; granian by itself hangs on the second one, one time
    in four, hence the repeats.
    """
    served = start(sqlite_url, free_port()).up()
    child = served.child()
    os.kill(child, number)
    os.kill(child, number)
    status, _ = served.end(number)
    assert status in (0, 1)  # 1 if the child was gone before the parent heard anything
    assert served.diary() == [["started", str(child)], ["stopped", str(child)]]


@pytest.mark.parametrize("killed", ["parent", "child", "both"])
def test_after_a_kill_and_a_restart_exactly_one_process_answers_and_works(
    start: Start, sqlite_url: str, killed: str
) -> None:
    port = free_port()
    served = start(sqlite_url, port).up()
    child = served.child()
    assert served.track("a").ok
    if killed in ("parent", "both"):
        served.process.kill()
    if killed in ("child", "both"):
        os.kill(child, signal.SIGKILL)
    status, _ = served.ended()
    assert status == (1 if killed == "child" else -signal.SIGKILL)
    again = start(sqlite_url, port).up()
    assert gone(child)
    assert {again.child() for _ in range(20)} == {again.child()}
    assert again.diary() == [["started", str(child)], ["started", str(again.child())]]
    again.track("a")
    again.track("b")
    store = open_store(sqlite_url)
    with store.reading() as tx:
        assert tx.exec_driver_sql("select message_id from inbox order by id").scalars().all() == ["a", "b"]
    store.dispose()


def test_a_second_serve_on_the_same_store_refuses_and_names_the_first(start: Start, sqlite_url: str) -> None:
    first = start(sqlite_url, free_port()).up()
    status, output = start(sqlite_url, free_port()).ended()
    assert status == 1
    assert first.child()
    assert f"process {first.process.pid} already serves this database (connector.db.lock is locked)" in output


def test_a_second_serve_on_the_same_port_refuses(start: Start, sqlite_url: str, tmp_path: Path) -> None:
    port = free_port()
    first = start(sqlite_url, port).up()
    status, output = start(f"sqlite:///{tmp_path / 'other.db'}", port).ended()
    assert status == 1
    assert f"PORT: cannot listen on 127.0.0.1:{port}: another process listens there" in output
    assert first.child()


def test_two_at_the_same_moment_end_as_one(start: Start, sqlite_url: str) -> None:
    """Both may find the lock free; only one child gets it."""
    both = [start(sqlite_url, free_port()) for _ in range(2)]
    wait_for(lambda: any(one.process.poll() is not None for one in both))
    (left,) = [one for one in both if one.process.poll() is None]
    (lost,) = [one for one in both if one is not left]
    assert lost.ended()[0] == 1
    assert left.up().diary() == [["started", str(left.child())]]


def test_a_stop_during_start_up_is_heard(start: Start, sqlite_url: str) -> None:
    served = start(sqlite_url, free_port())
    wait_for(lambda: Path(f"{served.database}.lock").exists())
    assert served.end()[0] in (0, -signal.SIGTERM)
    StoreLock(sqlite_url).acquire()


def test_the_database_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "connector.db"
    private_file(f"sqlite:///{file}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    store = open_store(f"sqlite:///{file}")
    migrate.upgrade(store)
    with store.reading():
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
    store.dispose()
    assert modes == {"connector.db": 0o600, "connector.db-wal": 0o600, "connector.db-shm": 0o600}
    content = file.read_bytes()
    private_file(f"sqlite:///{file}")
    private_file(f"sqlite:///{tmp_path}/no/folder.db")
    assert file.read_bytes() == content


def test_web_needs_postgresql(start: Start, sqlite_url: str) -> None:
    status, output = start(sqlite_url, free_port(), "--web").ended()
    assert status == 1
    assert "connector web needs PostgreSQL" in output


def test_web_serves_postgresql_without_worker(start: Start, postgres_url: str) -> None:
    served = start(postgres_url, free_port(), "--web").up()
    assert served.track("a").json() == {"success": True}
    assert served.track("a").json() == {"success": True}
    assert served.end()[0] == 0
    store = open_store(postgres_url)
    with store.reading() as tx:
        assert tx.exec_driver_sql("select message_id from inbox").scalars().all() == ["a"]
        assert tx.exec_driver_sql("select name, sum(value) from counters group by 1").all() == [("duplicates", 1)]
    store.dispose()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One served process for all tests that only talk to it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('bodies') / 'connector.db'}"
    store = open_store(url)
    migrate.upgrade(store)
    store.dispose()
    served = Served(url, free_port()).up()
    yield served
    served.end()
    served.clean_up()


class TestBodies:
    """What only a real server shows: chunks, lies about the length, and bodies that are too large."""

    def test_a_chunked_body_is_read_to_its_end(self, served: Served) -> None:
        parts = iter([b'{"messageId":"chunked",', b'"writeKey":', b'"write-key"}'])
        answer = requests.post(f"{served.base}/v1/track", data=parts, timeout=BOUND_SECONDS)
        assert answer.json() == {"success": True}

    @pytest.mark.parametrize("chunked", [False, True])
    def test_ten_megabytes_hear_413_and_no_broken_pipe(self, served: Served, chunked: bool) -> None:
        body = b'{"writeKey":"write-key","a":"' + b"x" * 10_000_000 + b'"}'
        data = (body[at : at + 65_536] for at in range(0, len(body), 65_536)) if chunked else body
        answer = requests.post(f"{served.base}/v1/track", data=data, timeout=BOUND_SECONDS)
        assert (answer.status_code, list(answer.json())) == (413, ["message"])

    def test_eight_megabytes_are_taken(self, served: Served) -> None:
        body = b'{"messageId":"big","writeKey":"write-key","a":"' + b"x" * 8_000_000 + b'"}'
        answer = requests.post(f"{served.base}/v1/track", data=body, timeout=BOUND_SECONDS)
        assert answer.json() == {"success": True}

    @pytest.mark.parametrize(
        ("length", "status"),
        [("0", b"401"), ("5", b"401"), ("-1", b"400"), ("x", b"400"), ("99999999999999999999999", b"400")],
    )
    def test_a_length_that_lies(self, served: Served, length: str, status: bytes) -> None:
        body = b'{"messageId":"lie","writeKey":"write-key"}'
        head = f"POST /v1/track HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", int(served.base.rpartition(":")[2])), BOUND_SECONDS) as one:
            one.sendall(head.encode() + body)
            one.shutdown(socket.SHUT_WR)
            answer = one.recv(4096)
        assert answer.split(b" ")[1] == status

    def test_a_body_that_never_comes_whole_is_never_stored(self, served: Served) -> None:
        body = b'{"messageId":"cut","writeKey":"write-key"}'
        head = f"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 100}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", int(served.base.rpartition(":")[2])), BOUND_SECONDS) as one:
            one.sendall(head.encode() + body)
            one.shutdown(socket.SHUT_WR)
            answer = one.recv(4096)
        assert answer.split(b" ")[1] == b"400"

    def test_a_header_that_is_not_ascii_is_a_mismatch(self, served: Served) -> None:
        head = "POST /v1/track HTTP/1.1\r\nHost: x\r\nAuthorization: Basic é\r\nContent-Length: 2\r\n\r\n{}"
        with socket.create_connection(("127.0.0.1", int(served.base.rpartition(":")[2])), BOUND_SECONDS) as one:
            one.sendall(head.encode())
            answer = one.recv(4096)
        assert answer.split(b" ")[1] == b"401"
