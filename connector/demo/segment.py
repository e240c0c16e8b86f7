"""A stand-in for Segment on loopback: its Tracking API, and the webhooks it sends.

It keeps Segment's contract, the unpleasant parts included: 200 does not mean accepted, a wrong write key is not
told, repeats are collapsed for a day only. What it kept is in ``accepted``, what it dropped with its code in
``dropped``, what it was asked in ``requests``. A script of faults makes it misbehave, one request each.

Source: https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

from __future__ import annotations

import base64
import binascii
import threading
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from connector.demo.loopback import Answer, Asked, LoopbackServer
from connector.demo.segment_rules import (
    BATCH_BYTES,
    BATCH_EVENTS,
    CALLS,
    DEDUPLICATED_FOR_MS,
    EVENT_BYTES,
    Event,
    drop_code,
    signature,
    stored,
    stringify,
    too_large,
    with_envelope,
)
from connector.messages import Milliseconds, now_ms

JSON_TYPE: Final = {"Content-Type": "application/json"}
SUCCESS: Final = b'{\n  "success": true\n}'


@dataclass(frozen=True, slots=True)
class Dropped:
    """A call that was answered 200 and is gone."""

    code: str
    event: Any


@dataclass(frozen=True, slots=True)
class Fault:
    """How one request is mistreated. Made by the functions below.

    stored: the calls are taken in before things go wrong, as when only the answer is lost. hang: say nothing until
    the stand-in stops or is released. reset: cut the connection.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    stored: bool = False
    hang: bool = False
    reset: bool = False


def answer(status: int, *, retry_after: int | str | None = None, body: bytes | None = None) -> Fault:
    """A refusal in Segment's form, or whatever ``body`` says."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after), "X-RateLimit-Reset": str(retry_after)}
    text = orjson.dumps({"code": "scripted", "message": f"scripted {status}"}) if body is None else body
    return Fault(status, {**JSON_TYPE, **headers}, text)


def hang(*, stored: bool = False) -> Fault:
    """No answer at all."""
    return Fault(stored=stored, hang=True)


def reset(*, stored: bool = False) -> Fault:
    """The connection breaks in place of an answer."""
    return Fault(stored=stored, reset=True)


def redirect(location: str) -> Fault:
    """A 302 to somewhere else."""
    return Fault(302, {"Location": location})


class SegmentStandIn:
    """Segment's Tracking API at ``url``; a context manager.

    Args: write_keys are the sources that exist. clock is Segment's, for receivedAt and the day of deduplication.
    ``refused`` holds messageIds whose request is answered 400, as for an event nobody foresaw; ``suppressed``
    holds userIds; ``disabled`` switches the source off.
    """

    def __init__(self, *write_keys: str, clock: Callable[[], Milliseconds] = now_ms) -> None:
        self.write_keys = write_keys or ("write-key",)
        self.clock = clock
        self.accepted: list[Event] = []
        self.dropped: list[Dropped] = []
        self.requests: list[Asked] = []
        self.refused: set[str] = set()
        self.suppressed: set[str] = set()
        self.disabled = False
        self._script: deque[Fault] = deque()
        self._seen: dict[str, Milliseconds] = {}
        self._changed = threading.Condition()
        self._server = LoopbackServer(self._answer)

    @property
    def url(self) -> str:
        """What SEGMENT_API_URL is set to."""
        return f"{self.host}/v1"

    @property
    def host(self) -> str:
        """What Segment's own libraries call ``host``."""
        return self._server.url

    def __enter__(self) -> SegmentStandIn:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.stop()

    def script(self, *faults: Fault) -> None:
        """Mistreat the next requests so, one fault each; after that, behave."""
        with self._changed:
            self._script.extend(faults)

    def release(self) -> None:
        """Let hanging requests go: their connections are closed without an answer."""
        self._server.release()

    def wait_until(self, true: Callable[[SegmentStandIn], bool], seconds: float = 10.0) -> bool:
        """Wait for something to be true of what has arrived, and say whether it came true."""
        with self._changed:
            return self._changed.wait_for(lambda: true(self), seconds)

    def message_ids(self) -> list[str]:
        """The messageIds of what was kept, in order of arrival."""
        return [event["messageId"] for event in self.accepted]

    def _answer(self, asked: Asked) -> Answer:
        with self._changed:
            self.requests.append(asked)
            fault = self._script.popleft() if self._script else None
            given = self._take_in(asked) if fault is None or fault.stored else None
            self._changed.notify_all()
        if fault is None and given is not None:
            return given
        assert fault is not None  # noqa: S101 - one of the two is there
        return Answer(fault.status, fault.headers, fault.body, hang=fault.hang, reset=fault.reset)

    def _take_in(self, asked: Asked) -> Answer:
        call = asked.path.removeprefix("/v1/")
        call = CALLS.get(call, call)
        if asked.method != "POST" or call not in CALLS.values() or not asked.path.startswith("/v1/"):
            return _refusal(404, "not_found", "there is no such route")
        body = asked.body
        if asked.headers.get("content-encoding") == "gzip":
            try:
                body = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body, 2 * BATCH_BYTES)
            except zlib.error:
                return _refusal(400, "invalid_request", "malformed gzip")
        if len(body) > (BATCH_BYTES if call == "batch" else EVENT_BYTES):
            return _refusal(400, "invalid_request", "request body too large")
        try:
            envelope = orjson.loads(body)
        except orjson.JSONDecodeError:
            return _refusal(400, "invalid_request", "malformed JSON")
        if not isinstance(envelope, dict):
            return _refusal(400, "invalid_request", "malformed JSON: not an object")
        if call != "batch":
            return self._ingest([{"type": call, **envelope}], envelope, asked)
        events = envelope.get("batch")
        if not isinstance(events, list) or not events:
            return self._drop_all("empty_batch", [envelope])
        return self._ingest([with_envelope(event, envelope) for event in events], envelope, asked)

    def _ingest(self, events: list[Any], envelope: Event, asked: Asked) -> Answer:
        if any(too_large(event) for event in events):
            return _refusal(400, "invalid_request", "an event is larger than 32 KB")
        if any(isinstance(event, dict) and event.get("messageId") in self.refused for event in events):
            return _refusal(400, "invalid_request", "malformed event")
        if len(events) > BATCH_EVENTS:
            return self._drop_all("batch_too_long", events)
        if _write_key(asked.headers, envelope) not in self.write_keys:
            return self._drop_all("project_not_found", events)
        if self.disabled:
            return self._drop_all("source_disabled", events)
        for event in events:
            self._keep(event, envelope.get("sentAt"))
        return Answer(200, JSON_TYPE, SUCCESS)

    def _keep(self, event: Any, sent_at: object) -> None:
        now = self.clock()
        code = drop_code(event)
        if code is None and event.get("userId") in self.suppressed:
            code = "suppressed_user"
        if code is None and now - self._seen.get(event.get("messageId"), -DEDUPLICATED_FOR_MS) < DEDUPLICATED_FOR_MS:
            code = "duplicate"
        if code is not None:
            self.dropped.append(Dropped(code, event))
            return
        kept = stored(event, sent_at, now)
        self._seen[kept["messageId"]] = now
        self.accepted.append(kept)

    def _drop_all(self, code: str, events: list[Any]) -> Answer:
        self.dropped += [Dropped(code, event) for event in events]
        return Answer(200, JSON_TYPE, SUCCESS)


def post_webhook(
    url: str, data: object, shared_secret: str | None, *, headers: Mapping[str, str] | None = None, method: str = "POST"
) -> tuple[int, bytes]:
    """Send an event, or a list of them as one batch, as Segment's Webhooks (Actions) does; status and body.

    The signature covers the raw body of one event, of a batch only its first element.
    """
    parts = urlsplit(url)
    sent = {"Content-Type": "application/json", "User-Agent": "Segment (Actions)", **(headers or {})}
    first = data[0] if isinstance(data, list) and data else data
    if shared_secret and first is not None:
        sent["X-Signature"] = signature(first, shared_secret)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request(method, target, stringify(data).encode(), sent)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _refusal(status: int, code: str, message: str) -> Answer:
    return Answer(status, JSON_TYPE, orjson.dumps({"code": code, "message": message}))


def _write_key(headers: Mapping[str, str], envelope: Event) -> str | None:
    """The key of Basic auth (``key:``, the colon is required), else that of the body."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            key, colon, _ = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return key if colon else None
    key_in_body = envelope.get("writeKey")
    return key_in_body if isinstance(key_in_body, str) else None
