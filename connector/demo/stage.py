"""Where the story is played: a real connector in a process of its own, between stand-ins for Segment and Klaviyo."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, TypeVar
from urllib.parse import quote

import orjson

import connector
from connector.config import DEFAULTS
from connector.demo import klaviyo_standin
from connector.demo.klaviyo_standin import KlaviyoStandIn
from connector.demo.klaviyo_standin.history import KLAVIYO
from connector.demo.segment import SegmentStandIn, post_webhook
from connector.errors import ConnectorError
from connector.messages import Milliseconds, now_ms
from connector.resources import shipped_mappings

PATIENCE_SECONDS: Final = 15.0
END_SECONDS: Final = 20.0
KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
"""What the connector's process gets of our own environment: none of the user's settings."""

MAILED: Final = {
    "Email Delivered": "Received Email",
    "Email Opened": "Opened Email",
    "Email Link Clicked": "Clicked Email",
}
"""What Klaviyo itself calls what Segment calls so."""

COUNTED: Final = {
    'channel = "auto"': 'channel = "segment"',
    'every = "60s"': 'every = "5s"',
    'overlap = "10m"': 'overlap = "1d"',
    "history_counts = false": "history_counts = true",
}
"""Klaviyo's mails are told of by two channels in the demo; the one that breaks them is the one to be counted. The other
is asked more often, and further back, because the story happens in seconds and tells of hours."""

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
        write_key, klaviyo_key = secrets.token_urlsafe(18), f"pk_{secrets.token_hex(17)}"
        self.segment = SegmentStandIn(write_key)
        self.klaviyo = KlaviyoStandIn(klaviyo_key)
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
            "INSPECTOR_TOKENS": self.token,
            "SEGMENT_WRITE_KEY": write_key,
            "SEGMENT_API_URL": self.segment.url,
            "DESTINATIONS": "segment,klaviyo",
            "KLAVIYO_API_KEY": klaviyo_key,
            "KLAVIYO_API_URL": self.klaviyo.url,
        }
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Stage:
        _write_mappings(self.folder / "mappings")
        self.segment.__enter__()
        self.klaviyo.__enter__()
        for metric in MAILED.values():  # an account that has mailed before; the connector looks for new ones every hour
            self.klaviyo.account.history.metric(metric, KLAVIYO, now_ms())
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

    def klaviyo_mails(self, to: str, event: str, at: Milliseconds) -> str:
        """What becomes of a mail, for whoever asks Klaviyo's API; the id of the event there."""
        return self.klaviyo.mail(to, MAILED[event], at).id

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

    def reached_klaviyo(self, message_ids: Iterable[str]) -> list[klaviyo_standin.Event]:
        """What Klaviyo got for calls of the site: the events as the stand-in keeps them, in their order."""
        wanted = set(message_ids)

        def found(klaviyo: KlaviyoStandIn) -> list[klaviyo_standin.Event]:
            return sorted((one for one in klaviyo.events if one.unique_id in wanted), key=lambda one: one.place)

        if not self.klaviyo.wait_until(lambda klaviyo: len(found(klaviyo)) >= len(wanted), PATIENCE_SECONDS):
            raise ConnectorError(f"Klaviyo never got all of {', '.join(sorted(wanted))}")
        return found(self.klaviyo)

    def labelled_at_klaviyo(self, external_id: str) -> klaviyo_standin.Profile:
        """The profile that has this External ID at Klaviyo, as soon as one has."""

        def labelled(klaviyo: KlaviyoStandIn) -> bool:
            return klaviyo.profile("external_id", external_id) is not None

        if not self.klaviyo.wait_until(labelled, PATIENCE_SECONDS):
            raise ConnectorError(f"no profile at Klaviyo ever got the External ID {external_id}")
        profile = self.klaviyo.profile("external_id", external_id)
        assert profile is not None  # noqa: S101 - it has just been there, and nothing takes it away
        return profile

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
            self.klaviyo.__exit__(None, None, None)
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


def _write_mappings(folder: Path) -> None:
    """What differs from the shipped files, which stand for the rest."""
    ours = (shipped_mappings() / "sources" / "klaviyo.toml").read_text(encoding="utf-8")
    for shipped, wanted in COUNTED.items():
        if ours.count(shipped) != 1:
            raise ConnectorError(f"sources/klaviyo.toml does not say {shipped} once, which the demo replaces")
        ours = ours.replace(shipped, wanted)
    for name, text in (("sources", ours), ("destinations", "[backfill]\nenabled = true\n")):
        (folder / name).mkdir(parents=True)
        (folder / name / "klaviyo.toml").write_text(text, encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
