"""Where the story is played: a real connector in a process of its own, a stand-in for Segment, and their secrets."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, TypeVar
from urllib.parse import quote

import orjson

import connector
from connector.config import DEFAULTS
from connector.demo.klaviyo import post_system_webhook
from connector.demo.segment import SegmentStandIn, post_webhook
from connector.errors import ConnectorError
from connector.messages import now_ms
from connector.resources import shipped_mappings

PATIENCE_SECONDS: Final = 15.0
END_SECONDS: Final = 20.0
KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
"""What the connector's process gets of our own environment: none of the user's settings."""

Event = dict[str, Any]
Found = TypeVar("Found")


class Stage:
    """Everything up and running, as a context manager; on leaving it all processes have ended.

    Args: folder is where the connector works; it holds all that is ever written. port None means a free one.

    Raises: ConnectorError if the connector does not start, with its own last words.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = secrets.token_urlsafe(18)
        self.shared_secret = secrets.token_hex(20)
        self.klaviyo_secret = secrets.token_hex(20)
        write_key = secrets.token_urlsafe(18)
        self.segment = SegmentStandIn(write_key)
        self._environment = {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            **dict.fromkeys(DEFAULTS, ""),
            "PYTHONPATH": str(Path(connector.__file__).resolve().parents[1]),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATABASE_URL": f"sqlite:///{folder / 'connector.db'}",
            "MAPPINGS": str(folder / "mappings"),
            "CONNECTOR_SECRET": secrets.token_hex(32),
            "SEGMENT_SHARED_SECRETS": self.shared_secret,
            "KLAVIYO_WEBHOOK_SECRETS": self.klaviyo_secret,
            "INSPECTOR_TOKENS": self.token,
            "SEGMENT_WRITE_KEY": write_key,
            "SEGMENT_API_URL": self.segment.url,
        }
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Stage:
        _count_klaviyo_by_segment(self.folder / "mappings")
        self.segment.__enter__()
        try:
            self._start()
            self._until(self._ready, "the connector did not get ready")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def segment_sends(self, events: list[Event]) -> None:
        """Segment's Webhook destination delivers: one event alone, several as an array."""
        body = events[0] if len(events) == 1 else events
        status, answer = post_webhook(f"{self.url}/webhooks/segment", body, self.shared_secret)
        if status != 200:
            raise ConnectorError(f"the connector refused Segment's webhook with {status}: {answer.decode()}")

    def klaviyo_sends(self, events: list[Event]) -> None:
        """Klaviyo's system webhook delivers."""
        status, answer = post_system_webhook(f"{self.url}/webhooks/klaviyo", events, self.klaviyo_secret, now_ms())
        if status != 200:
            raise ConnectorError(f"the connector refused Klaviyo's webhook with {status}: {answer.decode()}")

    def decided(self, message_id: str, *, unless: str = "waiting") -> Event:
        """What the API says about a message, as soon as its outcome is another than ``unless``."""

        def told() -> Event | None:
            found = self._get(f"/api/messages/{quote(message_id, safe='')}")
            return found if found and found["decision"]["outcome"] not in ("waiting", unless) else None

        return self._until(told, f"nothing was decided about {message_id}")

    def left(self, decided: Event) -> Event:
        """What Segment got for a message that was decided: the event as the stand-in stored it."""
        outgoing = decided["deliveries"][0]["message_id"]

        def arrived(segment: SegmentStandIn) -> bool:
            return outgoing in segment.message_ids()

        if not self.segment.wait_until(arrived, PATIENCE_SECONDS):
            raise ConnectorError(f"Segment never got {outgoing}")
        return next(event for event in self.segment.accepted if event["messageId"] == outgoing)

    def stats(self) -> Event:
        found = self._get("/api/stats")
        if found is None:
            raise ConnectorError("the connector does not tell its numbers")
        return found

    def _start(self) -> None:
        self._log = (self.folder / "serve.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "connector.demo.served"],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which then ends it in order
        )

    def _end(self) -> None:
        """SIGTERM and patience; what is left after that is killed."""
        try:
            if self._process is not None:
                self._process.terminate()
                try:
                    self._process.wait(END_SECONDS)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
        finally:
            if self._process is not None and self._process.stdin:
                self._process.stdin.close()
            if self._log is not None:
                self._log.close()
            self.segment.__exit__(None, None, None)

    def _ready(self) -> bool | None:
        return self._ask("/readyz")[0] == 200 or None

    def _get(self, path: str) -> Event | None:
        status, body = self._ask(path)
        found: Event | None = orjson.loads(body) if status == 200 else None
        return found

    def _ask(self, path: str) -> tuple[int, bytes]:
        """Status and body; 0 if nobody answers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException):
            return 0, b""
        finally:
            connection.close()

    def _until(self, look: Callable[[], Found | None], otherwise: str) -> Found:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := look()) is None:
            if self._process is not None and self._process.poll() is not None:
                raise ConnectorError(f"the connector ended: {self._last_words()}")
            if time.monotonic() > deadline:
                raise ConnectorError(f"{otherwise} within {PATIENCE_SECONDS:.0f} seconds: {self._last_words()}")
            time.sleep(0.03)
        return found

    def _last_words(self) -> str:
        lines = (self.folder / "serve.log").read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:]) or "it said nothing"


def _count_klaviyo_by_segment(folder: Path) -> None:
    """Klaviyo's events arrive by two channels in the demo; the one that breaks them is the one to be counted."""
    shipped = (shipped_mappings() / "sources" / "klaviyo.toml").read_text(encoding="utf-8")
    (folder / "sources").mkdir(parents=True)
    ours = shipped.replace('channel = "auto"', 'channel = "segment"', 1)
    (folder / "sources" / "klaviyo.toml").write_text(ours, encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
