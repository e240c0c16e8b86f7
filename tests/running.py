"""A real connector in a process of its own, with everything one would do to it from outside."""

from __future__ import annotations

import hashlib
import hmac
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson
import requests

from connector.demo.segment import post_webhook

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "inspector-token"
SHARED_SECRET = "segment-shared-secret"
KLAVIYO_SECRET = "klaviyo-webhook-secret"
WRITE_KEY = "write-key"
SOURCE_KEY = "source-key"


class Connector:
    """``connector serve`` on a free loopback port, with its database in folder; a context manager.

    settings are further variables. ``start`` and ``kill`` may be called again and again on the same store.
    """

    def __init__(self, folder: Path, segment_url: str, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATABASE_URL": f"sqlite:///{folder}/connector.db",
            "CONNECTOR_SECRET": "0123456789abcdef" * 2,
            "SEGMENT_SHARED_SECRETS": SHARED_SECRET,
            "SOURCE_WRITE_KEYS": SOURCE_KEY,
            "SEGMENT_WRITE_KEY": WRITE_KEY,
            "SEGMENT_API_URL": segment_url,
            "INSPECTOR_TOKENS": TOKEN,
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Connector:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def command(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run another command of the connector beside it."""
        return subprocess.run(
            [sys.executable, "-m", "connector.cli", *arguments],
            env={**self.environment, **settings},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self) -> Connector:
        """Start, and wait until it is ready."""
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "connector.cli", "serve"],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        if not eventually(self._is_ready, 30):
            raise AssertionError(f"the connector did not start: {(self.folder / 'serve.log').read_text()[-2000:]}")
        return self

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the connector ended: {(self.folder / 'serve.log').read_text()[-2000:]}")
        try:
            return bool(requests.get(f"{self.url}/readyz", timeout=2).status_code == 200)
        except requests.ConnectionError:
            return False

    def children(self) -> list[int]:
        """The process ids of the granian child."""
        assert self.process is not None
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(one) for one in found]

    def stop(self) -> int | None:
        """SIGTERM, and the exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(25)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def segment(self, *calls: Mapping[str, Any]) -> tuple[int, bytes]:
        """What Segment's webhook does: one call as an object, several as an array."""
        data = calls[0] if len(calls) == 1 else list(calls)
        return post_webhook(f"{self.url}/webhooks/segment", data, SHARED_SECRET)

    def klaviyo(self, *events: Mapping[str, Any]) -> requests.Response:
        """What Klaviyo's system webhook does."""
        body = orjson.dumps({"data": list(events), "meta": {"klaviyo_webhook_id": "W1", "version": "2026-07-15"}})
        stamp = "Sat, 21 Nov 2026 10:00:00 GMT"
        signature = hmac.new(KLAVIYO_SECRET.encode(), body + stamp.encode(), hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "Klaviyo-Signature": signature,
            "Klaviyo-Timestamp": stamp,
            "Klaviyo-Webhook-Id": "W1",
        }
        return requests.post(f"{self.url}/webhooks/klaviyo", body, headers=headers, timeout=10)

    def get(self, path: str) -> Any:
        """The JSON answer of an ``/api`` route."""
        response = requests.get(f"{self.url}{path}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
        response.raise_for_status()
        return response.json()

    def settled(self) -> dict[str, Any]:
        """The statistics, once nothing waits to be stitched or sent any more."""
        found: dict[str, Any] = {}

        def is_settled() -> bool:
            found.update(self.get("/api/stats"))
            return bool(found["messages"]["waiting"] == 0 == found["outbox"]["segment"]["pending"])

        assert eventually(is_settled, 20), f"still busy: {found}"
        return found

    def decision(self, message_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.get(f"/api/messages/{message_id}")["decision"]
        return answer


def klaviyo_event(number: str, topic: str, email: str, at: str, **properties: Any) -> dict[str, Any]:
    """One event of Klaviyo's system webhook: the shape of reference API answers at revision 2026-07-15."""
    return {
        "external_id": number,
        "topic": f"event:klaviyo.{topic}",
        "payload": {
            "data": {
                "type": "event",
                "id": number,
                "attributes": {
                    "datetime": at,
                    "event_properties": {"Recipient Email Address": email, "$message": "M1", **properties},
                    "uuid": f"uuid-{number}",
                },
                "relationships": {
                    "profile": {"data": {"type": "profile", "id": f"01{email.partition('@')[0].upper()}"}},
                    "metric": {"data": {"type": "metric", "id": "ABC123"}},
                },
            }
        },
    }


def eventually(true: Callable[[], object], seconds: float = 10.0) -> bool:
    """Did it come true in time?"""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.03)
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def by_message_id(events: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """What Segment kept, by the id of the message it answers."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        found.setdefault(event["context"].get("connector", {}).get("messageId", event["type"]), []).append(event)
    return found
