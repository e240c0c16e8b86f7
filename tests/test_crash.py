"""kill -9 under load: nothing acknowledged is lost, nothing leaves under two names, one process answers."""

from __future__ import annotations

import http.client
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from connector import inbox, worker
from connector.demo.segment import SegmentStandIn, hang
from connector.house import House
from connector.messages import Received, now_ms
from connector.store import Store
from tests.running import Connector, by_message_id, eventually, free_port
from tests.test_story import call, from_klaviyo

ROUNDS = ("parent", "child", "both", "parent", "child", "both")


class Load:
    """Two senders that post events one after the other and remember which were acknowledged."""

    def __init__(self, connector: Connector) -> None:
        self.connector = connector
        self.acknowledged: set[str] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(2)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, sender: int) -> None:
        number = 0
        while not self._stop.is_set():
            batch = [self._event(sender, number + at) for at in range(3)]
            try:
                if self.connector.segment(*batch)[0] == 200:
                    self.acknowledged |= {one["messageId"] for one in batch}
                    number += 3
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)  # down: the sender tries the same again, as Segment does

    @staticmethod
    def _event(sender: int, number: int) -> dict[str, Any]:
        person, second = number % 7, f"10:{number // 60 % 60:02}:{number % 60:02}"
        if number % 5 == 0:
            traits = {"email": f"p{person}@x.test"}
            return call(f"i-{sender}-{number}", "identify", second, anonymousId=f"browser-{person}", traits=traits)
        return from_klaviyo(f"e-{sender}-{number}", "Email Opened", f"p{person}@x.test", second)


@pytest.mark.slow
def test_sigkill_under_load_loses_nothing_and_doubles_nothing(tmp_path: Path, segment: SegmentStandIn) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    connector = Connector(tmp_path, segment.url).start()
    load = Load(connector)
    load.start()
    try:
        for victim in ROUNDS:
            time.sleep(rng.uniform(0.3, 1.2))
            (child,) = connector.children()
            assert connector.process is not None
            kill(victim, connector.process, child)
            assert eventually(lambda child=child: not alive(child)), f"seed {seed}: the child outlived its parent"  # type: ignore[misc]  # a default binds it
            connector.start()
            assert len(connector.children()) == 1
    finally:
        load.stop()
    stats = connector.settled()
    assert connector.stop() == 0
    with closing(sqlite3.connect(tmp_path / "connector.db")) as database:
        kept = {row[0] for row in database.execute("select message_id from inbox where source = 'segment'")}
        decided = {row[0] for row in database.execute("select message_id from messages")}
    assert load.acknowledged <= kept, f"seed {seed}"
    assert kept == decided
    sent = by_message_id(segment.accepted)
    assert {one for one in kept if one.startswith("e-")} == set(sent), f"seed {seed}"
    assert {key for key, events in sent.items() if len(events) > 1} == set()
    assert {one.event["messageId"] for one in segment.dropped if one.code == "duplicate"} <= set(segment.message_ids())
    assert {one.code for one in segment.dropped} <= {"duplicate"}
    assert stats["messages"]["received"] == len(kept)


def kill(victim: str, parent: subprocess.Popen[bytes], child: int) -> None:
    if victim in ("child", "both"):
        os.kill(child, signal.SIGKILL)
    if victim in ("parent", "both"):
        parent.kill()
    status = parent.wait(20)  # a parent whose child was killed ends too, so that a supervisor starts both anew
    assert status != 0


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_second_serve_on_the_same_store_or_port_refuses(tmp_path: Path, segment: SegmentStandIn) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with Connector(tmp_path, segment.url) as connector:
        same_store = connector.command("serve", PORT=str(free_port()))
        same_port = connector.command("serve", DATABASE_URL=f"sqlite:///{elsewhere}/connector.db")
        assert len(connector.children()) == 1
        assert requests.get(f"{connector.url}/healthz", timeout=5).status_code == 200
    assert (same_store.returncode, same_port.returncode) == (1, 1)
    assert connector.process is not None
    assert f"process {connector.process.pid} already serves this database" in same_store.stderr
    assert str(connector.port) in same_port.stderr


@pytest.mark.slow
def test_sigterm_hands_back_what_was_claimed(tmp_path: Path, segment: SegmentStandIn) -> None:
    segment.script(*[hang()] * 4)
    connector = Connector(tmp_path, segment.url).start()
    connector.segment(
        call("i1", "identify", "09:01:00", anonymousId="browser-1", traits={"email": "jane@x.test"}),
        from_klaviyo("s1", "Email Opened", "jane@x.test", "10:00:00"),
    )
    assert segment.wait_until(lambda stand_in: len(stand_in.requests) == 1)
    stopping = threading.Timer(0.5, segment.release)
    stopping.start()
    began = time.monotonic()
    assert connector.stop() == 0
    assert time.monotonic() - began < 20
    with closing(sqlite3.connect(tmp_path / "connector.db")) as database:
        assert database.execute("select status, claimed_by from outbox").fetchall() == [("pending", None)]


def test_a_transaction_that_commits_late_loses_nothing(postgres_store: Store, house: House) -> None:
    early, late = (received(name) for name in ("early", "late"))
    with postgres_store.engine.connect() as slow:
        slow.begin()
        inbox.store(slow, [late])  # has the smaller number, and is not committed yet
        with postgres_store.writing() as tx:
            inbox.store(tx, [early])
        assert worker.stitch_once(postgres_store, house, now_ms()) == 1
        slow.commit()
    assert worker.stitch_once(postgres_store, house, now_ms()) == 1
    assert worker.stitch_once(postgres_store, house, now_ms()) == 0


def received(message_id: str) -> Received:
    body = f'{{"type":"page","anonymousId":"browser-1","messageId":"{message_id}"}}'
    return Received("segment", message_id, body, now_ms())


if sys.platform != "linux":  # pragma: no cover
    pytestmark = pytest.mark.skip(reason="reads /proc to see which processes live")
