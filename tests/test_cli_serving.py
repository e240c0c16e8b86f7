"""``connector serve``, ``web`` and ``worker`` as real processes: first start, refusals, clean ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.config import DEFAULTS
from connector.demo.segment import SegmentStandIn, post_webhook
from connector.messages import iso, now_ms
from connector.store import Store
from tests.commands import ROOT, Command, free_port, get, wait_for

Start = Callable[..., Command]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Command] = []

    def run(line: str, **environment: str) -> Command:
        started.append(Command(tmp_path, line, **environment))
        return started[-1]

    yield run
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.ended()


def identify(message_id: str = "m1") -> dict[str, Any]:
    return {
        "type": "identify",
        "messageId": message_id,
        "anonymousId": "browser-1",
        "traits": {"email": "jane@x.test"},
        "timestamp": iso(now_ms()),
    }


def opened() -> dict[str, Any]:
    context = {"integration": {"name": "Klaviyo"}, "traits": {"email": "jane@x.test"}}
    return {
        **identify("m2"),
        "type": "track",
        "event": "Email Opened",
        "anonymousId": "jane@x.test",
        "context": context,
    }


def test_the_first_start_makes_secrets_and_says_what_to_paste(start: Start, tmp_path: Path) -> None:
    port = free_port()
    serve = start("serve", HOST="127.0.0.1", PORT=str(port))
    wait_for(lambda: get(port, "/readyz")[0] == 200)
    env = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines() if "=" in line)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    serve.says("action=serve")
    for secret in ("SEGMENT_SHARED_SECRETS", "INSPECTOR_TOKENS", "SOURCE_WRITE_KEYS"):
        assert f"see {secret} in .env" in serve.output
        assert env[secret] not in serve.output, "this is a pipe, which somebody else may read"
    assert env["CONNECTOR_SECRET"] not in serve.output
    assert serve.output.startswith(
        f"Made {tmp_path}/.env with fresh secrets, for your eyes only. Keep it with {tmp_path}/connector.db (SQLite):"
    )
    for words in ("https://YOUR-HOST/webhooks/segment", "<script>", "klaviyoForms", "stay held"):
        assert words in serve.output
    assert f"http://127.0.0.1:{port}/" in serve.output

    webhook = f"http://127.0.0.1:{port}/webhooks/segment"
    assert post_webhook(webhook, identify(), env["SEGMENT_SHARED_SECRETS"])[0] == 200
    token = env["INSPECTOR_TOKENS"]
    wait_for(lambda: json.loads(get(port, "/api/stats", token)[1])["links"] == 1)
    assert get(port, "/", token)[0] in (200, 401)

    (tmp_path / "h.csv").write_text("user_id,anonymous_id,email,timestamp\nu1,browser-2,kim@x.test,2026-01-01\n")
    beside = start("import h.csv")
    assert beside.ended() == 0
    assert "is learning from them now" in beside.output
    wait_for(lambda: json.loads(get(port, "/api/stats", token)[1])["profiles"] == 2)

    retry = start("retry --quarantined")
    assert retry.ended() == 0
    assert retry.output == "0 quarantined messages are tried again\n"

    second = start("serve", HOST="127.0.0.1", PORT=str(free_port()))
    assert second.ended() == 1
    assert re.search(r"Error: process \d+ already serves this database", second.output)
    assert serve.end() == 0
    assert "Traceback" not in serve.output
    assert "[WARNING]" not in serve.output


def test_the_second_start_keeps_the_secrets_and_says_nothing_of_them(start: Start, tmp_path: Path) -> None:
    texts, outputs = [], []
    for port in (free_port(), free_port()):
        serve = start("serve", HOST="127.0.0.1", PORT=str(port))
        wait_for(lambda: get(port, "/readyz")[0] == 200)  # noqa: B023 - it is called at once
        texts.append((tmp_path / ".env").read_text())
        assert serve.end(signal.SIGINT) == 0
        outputs.append(serve.output)
    assert texts[0] == texts[1]
    assert [output.startswith("Made ") for output in outputs] == [True, False]
    assert outputs[1].splitlines()[:3] == [
        f"page http://127.0.0.1:{port}/ (token: INSPECTOR_TOKENS); database {tmp_path}/connector.db (SQLite)",
        "open: /v1, /webhooks/segment; 13 more doors are closed",
        "`connector check` says what is missing, and what to set.",
    ]
    assert outputs[1].endswith("\nStopped; nothing is lost.\n")


def test_a_terminal_is_shown_the_fresh_secrets(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "connector.cli", "serve"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PORT": str(free_port()), "HOST": "127.0.0.1"},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while b"action=serve" not in said:
            said += os.read(ours, 65536)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    env = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines() if "=" in line)
    for secret in ("SEGMENT_SHARED_SECRETS", "INSPECTOR_TOKENS", "SOURCE_WRITE_KEYS"):
        assert env[secret].encode() in said
    assert env["CONNECTOR_SECRET"].encode() not in said


def test_an_env_file_without_secrets_is_completed_while_there_is_no_database(start: Start, tmp_path: Path) -> None:
    port = free_port()
    mine = f"HOST=127.0.0.1\nPORT={port}\nSOURCE_WRITE_KEYS=\nINSPECTOR_TOKENS=mine\nHOLD_EMIAL=1h"
    (tmp_path / ".env").write_text(mine)
    (tmp_path / ".env").chmod(0o644)
    serve = start("serve")
    serve.says("action=serve")
    wait_for(lambda: get(port, "/readyz")[0] == 200)
    assert serve.end() == 0
    assert serve.output.startswith("Warning: HOLD_EMIAL in .env is not a setting; did you mean HOLD_EMAIL?\n")
    assert (
        f"Added CONNECTOR_SECRET, SEGMENT_SHARED_SECRETS to {tmp_path}/.env; what was in it is as it was. Others may"
        " read it: chmod 600 .env." in serve.output
    )
    text = (tmp_path / ".env").read_text()
    assert re.fullmatch(re.escape(mine) + r"\nCONNECTOR_SECRET=\w{64}\nSEGMENT_SHARED_SECRETS=\w{40}\n", text)


def test_an_env_file_without_its_secret_beside_a_database_is_left_alone(start: Start, tmp_path: Path) -> None:
    assert start("migrate", CONNECTOR_SECRET="the secret it was made with").ended() == 0
    (tmp_path / ".env").write_text("SEGMENT_WRITE_KEY=k\n")
    for line in ("serve", "log"):
        said = start(line)
        assert said.ended() == 1
        assert said.output.startswith(
            f"Error: CONNECTOR_SECRET: the database '{tmp_path}/connector.db' exists, but the"
        )
    assert (tmp_path / ".env").read_text() == "SEGMENT_WRITE_KEY=k\n"


@pytest.mark.parametrize("environment", [{}, {"CONNECTOR_SECRET": "0123456789abcdef"}])
def test_a_taken_port_is_told_before_anything_is_made(
    start: Start, tmp_path: Path, environment: dict[str, str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        serve = start("serve", HOST="127.0.0.1", PORT=str(taken.getsockname()[1]), **environment)
        assert serve.ended() == 1
    assert "another process listens there" in serve.output
    assert list(tmp_path.iterdir()) == []


def test_a_database_whose_secret_is_gone_is_refused_and_left_alone(start: Start, tmp_path: Path) -> None:
    assert start("migrate", CONNECTOR_SECRET="the secret it was made with").ended() == 0
    before = (tmp_path / "connector.db").read_bytes()
    serve = start("serve")
    assert serve.ended() == 1
    assert f"the database '{tmp_path}/connector.db' exists, but the secret it was made with is gone" in serve.output
    other = start("serve", CONNECTOR_SECRET="another secret altogether")
    assert other.ended() == 1
    assert "is not the one this database was made with" in other.output
    assert not (tmp_path / ".env").exists()
    assert (tmp_path / "connector.db").read_bytes() == before


def test_with_settings_in_the_environment_nothing_but_the_database_is_written(start: Start, tmp_path: Path) -> None:
    port = free_port()
    serve = start("serve", CONNECTOR_SECRET="0123456789abcdef", HOST="127.0.0.1", PORT=str(port))
    wait_for(lambda: get(port, "/readyz")[0] == 200)
    assert serve.end() == 0
    assert {file.name.partition("-")[0] for file in tmp_path.iterdir()} == {"connector.db", "connector.db.lock"}


def test_a_port_that_is_taken_is_refused_in_words(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        serve = start("serve", CONNECTOR_SECRET="0123456789abcdef", HOST="127.0.0.1", PORT=str(port))
        assert serve.ended() == 1
    assert serve.output == (
        f"Error: PORT: cannot listen on 127.0.0.1:{port}: another process listens there; stop it or set another PORT\n"
    )


def test_web_and_worker_do_the_main_job_together_on_postgresql(
    start: Start, postgres_store: Store, postgres_url: str
) -> None:
    port = free_port()
    with SegmentStandIn("key") as segment:
        environment = {
            "DATABASE_URL": postgres_url,
            "CONNECTOR_SECRET": "0123456789abcdef",
            "SEGMENT_SHARED_SECRETS": "shared",
            "SEGMENT_WRITE_KEY": "key",
            "SEGMENT_API_URL": segment.url,
        }
        web = start("web", HOST="127.0.0.1", PORT=str(port), **environment)
        worker = start("worker", **environment)
        wait_for(lambda: get(port, "/readyz")[0] == 200)
        assert post_webhook(f"http://127.0.0.1:{port}/webhooks/segment", [identify(), opened()], "shared")[0] == 200
        assert segment.wait_until(lambda it: bool(it.accepted))
        assert [event["anonymousId"] for event in segment.accepted] == ["browser-1"]
        assert worker.end() == 0
        assert web.end() == 0
    assert "Traceback" not in web.output + worker.output


@pytest.mark.parametrize("name", ["web", "worker"])
def test_web_and_worker_refuse_a_database_that_was_not_migrated(start: Start, postgres: Any, name: str) -> None:
    url = postgres.create()
    try:
        process = start(name, DATABASE_URL=url, CONNECTOR_SECRET="0123456789abcdef", PORT=str(free_port()))
        assert process.ended() == 1
        assert "run `connector migrate`" in process.output
    finally:
        postgres.drop(url)


def test_no_variable_of_ours_is_set_while_these_tests_run() -> None:
    assert not [name for name in DEFAULTS if os.environ.get(name)]
