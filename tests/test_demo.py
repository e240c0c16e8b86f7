"""``connector demo`` as its user runs it: the story comes true, and nothing of it is left."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from connector import verify
from connector.demo import klaviyo
from connector.demo.loopback import Answer, Asked, LoopbackServer
from tests.commands import ROOT, Command, free_port, get, wait_for

HOUR_MS = 3_600_000


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Run the demo in an empty folder, with an empty folder for what is temporary."""
    started: list[Command] = []
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()

    def run(line: str, **environment: str) -> Command:
        environment = {"TMPDIR": str(tmp_path / "temporary"), **environment}
        started.append(Command(tmp_path / "here", line, **environment))
        return started[-1]

    yield run
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.ended()


def nothing_left(folder: Path) -> bool:
    """No file in the two folders, and no process that works in them."""
    marks = [str(folder / name) for name in ("here", "temporary")]
    return not any(any((folder / name).iterdir()) for name in ("here", "temporary")) and not any(
        mark in where for where in working_folders() for mark in marks
    )


def working_folders() -> list[str]:
    """Where each process works (of the operating systems that tell)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append(str((process / "cwd").readlink()))
        except OSError:  # it has ended, or is somebody else's
            continue
    return found


def test_the_story_comes_true_and_leaves_nothing_behind(start: Callable[..., Command], tmp_path: Path) -> None:
    demo = start("demo", DATABASE_URL="sqlite:////nonexistent/x.db", PORT="http", CONNECTOR_SECRET="x")
    assert demo.ended() == 0, demo.output
    text = demo.output
    assert "\x1b[" not in text, "colours in a pipe"
    assert re.findall(r"^   (Email .*?)  +anonymousId: (\w+)@mail\.example +→  (.*?)(?:  of .*)?$", text, re.M) == [
        ("Email Delivered", "jane", "anonymousId: 7f3a9c52…"),
        ("Email Opened", "jane", "anonymousId: 7f3a9c52…"),
        ("Email Link Clicked", "jane", "anonymousId: 7f3a9c52…"),
        ("Email Delivered", "tom", "anonymousId: b81e4d07…"),
        ("Email Opened", "tom", "anonymousId: b81e4d07…"),
        ("Email Delivered", "kim", "held: nobody knows this address's visitor yet"),
        ("Email Opened", "kim", "held: nobody knows this address's visitor yet"),
        ("Email Delivered", "sam", "held: nobody knows this address's visitor yet"),
        ("Email Opened", "jane", "userId: user-1042, anonymousId: 7f3a9c52…"),
        ("Email Delivered", "kim", "anonymousId: c41d7f98…"),
        ("Email Opened", "kim", "anonymousId: c41d7f98…"),
    ]
    assert "  Orphan rate   before 100%   after 11%\n" in text
    shown = (ROOT / "README.md").read_text(encoding="utf-8").split("connector demo\n```\n\n```\n")[1].split("```")[0]
    assert [line for line in shown.splitlines() if re.sub("  of .*", "", line) not in text] == [], "not in the README"
    assert "9 email events: 6 stitched at once, 2 late, 1 held; 2 copies by the other channel" in text
    assert "Segment got 8 events and dropped 0.\n" in text
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_up_until_it_is_ended_and_then_cleans_up(
    start: Callable[..., Command], tmp_path: Path, number: int
) -> None:
    port = free_port()
    demo = start(f"demo --wait --port {port}")
    demo.says("Ctrl-C ends the demo")
    token = demo.output.split("token ")[1].split()[0]
    assert orjson.loads(get(port, "/api/stats", token)[1])["email_events"]["stitched"] == 6
    assert get(port, "/api/stats", "wrong")[0] == 401
    assert demo.end(number) == (0 if number == signal.SIGINT else 128 + number)
    assert get(port, "/healthz")[0] == 0
    assert nothing_left(tmp_path)
    assert "Traceback" not in demo.output


def test_ctrl_c_in_the_middle_of_the_story_cleans_up_too(start: Callable[..., Command], tmp_path: Path) -> None:
    demo = start("demo --wait")
    demo.says("Jane browses the shop")
    assert demo.end(signal.SIGINT) == 1
    assert nothing_left(tmp_path)
    assert demo.output.rstrip().endswith("Aborted!")


def test_a_demo_that_was_killed_takes_its_connector_with_it(start: Callable[..., Command], tmp_path: Path) -> None:
    demo = start("demo --wait")
    demo.says("Ctrl-C ends the demo")
    assert demo.end(signal.SIGKILL) == -signal.SIGKILL
    wait_for(lambda: not [one for one in working_folders() if one.startswith(str(tmp_path))])


def test_a_port_that_is_taken_is_told_and_nothing_is_left(start: Callable[..., Command], tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        demo = start(f"demo --port {taken.getsockname()[1]}")
        assert demo.ended() == 1
    assert "another process listens there" in demo.output
    assert nothing_left(tmp_path)


def test_colours_are_for_terminals_and_not_with_no_color(tmp_path: Path) -> None:
    assert b"\x1b[" in on_a_terminal(tmp_path)
    assert b"\x1b[" not in on_a_terminal(tmp_path, NO_COLOR="1")


def on_a_terminal(folder: Path, **environment: str) -> bytes:
    """What a command writes to a terminal."""
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "connector.cli", "check"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # how Linux says that a terminal has ended
        pass
    os.close(ours)
    assert process.wait(20) == 1, said
    return said


def test_klaviyos_stand_in_signs_as_klaviyo_does() -> None:
    heard: list[Asked] = []

    def hear(asked: Asked) -> Answer:
        heard.append(asked)
        return Answer(202)

    server = LoopbackServer(hear)
    server.start()
    try:
        event = klaviyo.event("opened_email", "4L3", "01JP", 490_000 * HOUR_MS, {"$message": "M"})
        status, _ = klaviyo.post_system_webhook(f"{server.url}/webhooks/klaviyo", [event], "0123456789abcdef", 1000)
    finally:
        server.stop()
    assert status == 202
    (asked,) = heard
    stamp = asked.headers["klaviyo-timestamp"]
    assert stamp == "Thu, 01 Jan 1970 00:00:01 GMT"
    signed = hmac.new(b"0123456789abcdef", asked.body + stamp.encode(), hashlib.sha256).hexdigest()
    assert asked.headers["klaviyo-signature"] == signed
    assert verify.klaviyo(["0123456789abcdef"], signed, stamp, asked.body)
    told = orjson.loads(asked.body)
    assert told["meta"]["klaviyo_webhook_id"] == asked.headers["klaviyo-webhook-id"]
    assert told["data"][0]["topic"] == "event:klaviyo.opened_email"
    assert told["data"][0]["payload"]["data"]["attributes"]["datetime"] == "2025-11-24 16:00:00+00:00"
