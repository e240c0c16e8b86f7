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

import click
import orjson
import pytest
import requests

from connector import verify
from connector.demo import holdings, klaviyo
from connector.demo.klaviyo_standin import KEY, KlaviyoStandIn
from connector.demo.loopback import Answer, Asked, LoopbackServer
from connector.klaviyo import api
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
    assert [line for line in shown.splitlines() if timeless(line) not in timeless(text)] == [], "not in the README"
    assert "9 email events: 6 stitched at once, 2 late, 1 held; 9 copies by the other channel" in text
    assert "Segment got 8 events and dropped 0.\n" in text
    assert re.search(r"^   Email events        9 read from Klaviyo +→  9 ignored$", text, re.M), text
    assert re.findall(r"^   At Klaviyo +(.*?) +→  (.*)$", in_minutes(text), re.M) == [
        ("jane@mail.example", "+0 Viewed Page, +1 Viewed Product"),
        ("tom@mail.example", "+10 Viewed Page"),
        ("jane@mail.example", "External ID user-1042, on the same profile"),
        ("kim@mail.example", "+120 Viewed Page"),
    ]
    assert in_minutes(text).split("  What Klaviyo holds\n")[1].split("\n\n")[0].splitlines() == [
        "  address             External ID  what they did on the site, at its time",
        "  jane@mail.example   user-1042    +0 Viewed Page, +1 Viewed Product, +6 Viewed Page",
        "  tom@mail.example    -            +10 Viewed Page",
        "  kim@mail.example    -            +120 Viewed Page",
        "  sam@mail.example    -            -",
        "  4 profiles, 0 without an address, 0 duplicates; 5 events of the site, 0 duplicates.",
        "  Lee left no address, and is not among them: 1 event of theirs waits in the connector.",
    ]
    assert [line for line in text.splitlines() if len(line) > 120] == []
    assert nothing_left(tmp_path)


def timeless(text: str) -> str:
    """The text without the times of day in it."""
    return re.sub(r"\b\d\d:\d\d\b", "", text)


def in_minutes(text: str) -> str:
    """The text with the times of what happened on the site as minutes since the first of them."""
    found = re.compile(r"(\d\d):(\d\d)(?= Viewed)")
    hour, minute = map(int, found.findall(text)[0])
    return found.sub(lambda one: f"+{(int(one[1]) * 60 + int(one[2]) - hour * 60 - minute) % 1440}", text)


def test_the_table_of_klaviyos_profiles_hides_no_mistake() -> None:
    """Two without an address, a number that is told of two of them, an event on two, and a mail that is no visit."""
    with KlaviyoStandIn(limits=False) as klaviyo:
        for identifiers, unique_id, time in (
            ({"anonymous_id": "browser-1"}, "m-1", "2026-11-20T10:05:00Z"),
            ({"email": "jane@mail.example"}, "m-3", "2026-11-20T10:03:00Z"),
            ({"email": "jane@mail.example"}, "m-2", "2026-11-20T10:01:00Z"),
            ({"external_id": "user-1042"}, "m-2", "2026-11-20T10:01:00Z"),
            ({"external_id": "user-1042", "phone_number": "+15005550006"}, "m-4", "2026-11-20T10:04:00Z"),
            ({"email": "tom@mail.example"}, "m-5", "2026-11-20T10:06:00Z"),
            ({"email": "tom@mail.example", "phone_number": "+15005550006"}, "m-6", "2026-11-20T10:07:00Z"),
        ):
            assert track(klaviyo, identifiers, unique_id, time) == 202
        klaviyo.mail("jane@mail.example", "Opened Email", 490_000 * HOUR_MS)
        told = [click.unstyle(one) for one in holdings.told(klaviyo, {"held": 2})]
    assert told == [
        "What Klaviyo holds",
        "address             External ID  what they did on the site, at its time",
        "jane@mail.example   -            10:01 Viewed Page, 10:03 Viewed Page",
        "-                   user-1042    10:01 Viewed Page, 10:04 Viewed Page",
        "-                   -            10:05 Viewed Page",
        "tom@mail.example    -            10:06 Viewed Page, 10:07 Viewed Page",
        "4 profiles, 2 without an address, 1 duplicates; 7 events of the site, 1 duplicates.",
        "Lee left no address, and is not among them: 2 events of theirs wait in the connector.",
    ]


def track(klaviyo: KlaviyoStandIn, identifiers: dict[str, str], unique_id: str, time: str) -> int:
    """Send an event to the stand-in; the status of its answer."""
    attributes = {
        "metric": {"data": {"type": "metric", "attributes": {"name": "Viewed Page"}}},
        "profile": {"data": {"type": "profile", "attributes": identifiers}},
        "properties": {},
        "unique_id": unique_id,
        "time": time,
    }
    return requests.post(
        f"{klaviyo.url}/api/events",
        orjson.dumps({"data": {"type": "event", "attributes": attributes}}),
        headers={"Content-Type": "application/json", **api.headers(KEY)},
        timeout=10,
    ).status_code


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
