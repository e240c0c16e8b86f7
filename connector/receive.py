"""T1: from a request to rows on disk, and only then 200.

    verify the raw bytes → split → name each element → commit → answer

``ingest`` does all of it for every source, without a web framework: the Flask views, and any shorter way, only
adapt. It does the least that is safe; what a message means is asked in T2, where a mistake can be repaired.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from connector.bodies import MAX_BODY_BYTES
from connector.elements import TooLarge
from connector.errors import (
    ClosedError,
    ConnectorError,
    CutShort,
    PayloadError,
    StoreUnavailable,
    Unreachable,
    VerificationError,
    log_failure,
)
from connector.inbox import Kept
from connector.messages import Json, Milliseconds, Received, now_ms
from connector.sources import Entrance, Incoming, SecretsOf, no_certificate, segment, tracking

TOO_LARGE: Final = "the body is larger than {} bytes: send smaller batches"

MAX_MEMBERS: Final = 16
"""gzip streams that may follow each other in one body: each costs a copy of all that follow it."""

RETRY_AFTER_SECONDS: Final = 5

BUSY: Final = "the connector cannot store anything right now; nothing of this request was acknowledged, send it again"
CROWDED: Final = "too many requests are being received at this moment; nothing of this one was read, send it again"

ACROSS_ORIGINS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Content-Encoding, X-Retry-Count",
    "Access-Control-Max-Age": "86400",
}
"""Browsers post to ``/v1`` from the shop's own pages."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What to tell the sender: JSON, or nothing with a 204."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


SEGMENT: Final = Entrance(segment.NAME, segment.read, ("POST", "PUT", "PATCH"))
TRACKING: Final = Entrance(tracking.NAME, tracking.read, headers=ACROSS_ORIGINS, success=True)


@dataclass(frozen=True, slots=True)
class Reception:
    """What ``ingest`` needs of the house: secrets, the way to the disk, somebody who counts refusals, a clock.

    platforms: who may post to ``/webhooks/<provider>`` beside Segment. certificate fetches a PEM by its URL.
    """

    secrets_of: SecretsOf
    submit: Callable[[Sequence[Received]], Kept]
    refused: Callable[[str, str, str, Milliseconds], None]
    now: Callable[[], Milliseconds] = now_ms
    platforms: Mapping[str, Entrance] = field(default_factory=dict)
    certificate: Callable[[str], bytes] = no_certificate


def ingest(request: Incoming, reception: Reception) -> Answer:
    """The answer to one request at a door, given once everything it carries is on disk.

    Answers: 200 stored · 204 a browser asks whether it may · 400 not JSON · 401 unknown sender · 403 closed · 404 ·
    405 · 413 too large · 500 our mistake · 503 cannot store now. A platform that reads statuses otherwise gets its own.
    """
    door, secret = _door(request.path, reception)
    if door is None:
        return _unknown(request.path, reception)
    if request.method == "OPTIONS" and door.headers:
        return Answer(204, headers=door.headers)
    if request.method in door.probes:
        return _json(200, {"message": "this door is here"}, door.headers)
    if request.method not in door.methods:
        allowed = ", ".join((*door.methods, *door.probes))
        return said(405, f"send {allowed}", {**door.headers, "Allow": allowed})
    now = reception.now()
    try:
        whole = _addressed(plain(request, door.max_bytes), secret, now, reception)
        received = door.read(whole, reception.secrets_of, now)
        kept = reception.submit(received) if received else Kept()
    except ConnectorError as error:
        status, reason, headers = _refusal(error, door)
        reception.refused(door.source, reason, str(error), now)
        words = BUSY if isinstance(error, StoreUnavailable) else str(error)
        return said(status, words, {**door.headers, **headers})
    except Exception as error:
        log_failure("receive", error)
        return said(500, "the connector made a mistake; send this again later", door.headers)
    told = {"success": True} if door.success else {"stored": kept.stored, "duplicates": kept.duplicates}
    return _json(200, told, door.headers)


def crowded(path: str, reception: Reception) -> Answer:
    """The answer to a request whose body is not read because too many others are."""
    door, _ = _door(path, reception)
    if door is not None:
        reception.refused(door.source, "crowded", CROWDED, reception.now())
    return said(503, CROWDED, {**(door.headers if door else {}), "Retry-After": str(RETRY_AFTER_SECONDS)})


def said(status: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """A refusal in plain words; Segment shows ``message`` to its customer."""
    return _json(status, {"message": message}, headers or {})


def plain(request: Incoming, most: int = MAX_BODY_BYTES) -> Incoming:
    """The request with its body as the sender's code saw it: decompressed, and never larger than so many bytes.

    Raises: TooLarge, PayloadError.
    """
    _check_whole(request, most)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    body = request.body
    if encoding in ("gzip", "x-gzip"):
        body = _inflated(body, 16 + zlib.MAX_WBITS, most)
    elif encoding == "deflate":
        # Either zlib's format, as the RFC says, or the bare stream that many clients mean by the name.
        bare = body[:1] == b"" or body[0] & 0x0F != 8 or int.from_bytes(body[:2], "big") % 31 != 0
        body = _inflated(body, -zlib.MAX_WBITS if bare else zlib.MAX_WBITS, most)
    elif encoding not in ("", "identity"):
        raise PayloadError("the body's Content-Encoding is unknown: send it as gzip, deflate or plain")
    if len(body) > most:
        raise TooLarge(TOO_LARGE.format(most))
    return replace(request, body=body)


def _addressed(request: Incoming, secret: str | None, now: Milliseconds, reception: Reception) -> Incoming:
    return replace(request, secret=secret, now=now, settings=reception.secrets_of, certificate=reception.certificate)


def _check_whole(request: Incoming, most: int) -> None:
    """A sender that hung up in the middle: granian hands over what came as if it were all (2.8.7, tried)."""
    length = request.headers.get("content-length", "")
    if len(request.body) > most:
        raise TooLarge(TOO_LARGE.format(most))
    if length.isdecimal() and len(request.body) < int(length):
        raise CutShort("the body ended before its Content-Length")


def _inflated(body: bytes, window_bits: int, most: int) -> bytes:
    """At most one byte more than the bound, whatever the stream claims to hold."""
    parts: list[bytes] = []
    room = most + 1
    members = 0
    while body and room > 0:
        if members == MAX_MEMBERS:
            raise PayloadError(f"the compressed body is more than {MAX_MEMBERS} streams: compress it as one")
        members += 1
        stream = zlib.decompressobj(window_bits)
        try:
            parts.append(stream.decompress(body, room))
        except zlib.error as error:
            raise PayloadError("the body is not what its Content-Encoding says") from error
        room -= len(parts[-1])
        if room > 0 and not stream.eof:
            raise PayloadError("the compressed body ends too early")
        body = stream.unused_data  # gzip members may follow each other
    return b"".join(parts)


def _door(path: str, reception: Reception) -> tuple[Entrance | None, str | None]:
    """The door that a path leads to, and the secret that may follow a provider's name."""
    match path.split("/"):
        case ["", "webhooks", segment.NAME]:
            return SEGMENT, None
        case ["", "webhooks", name, *secret]:
            return reception.platforms.get(name), "/".join(secret) or None
        case ["", "v1", name] if name in tracking.CALLS:
            return TRACKING, None
    return None, None


def _unknown(path: str, reception: Reception) -> Answer:
    if path.startswith("/v1/"):
        return said(404, f"unknown call; known are /v1/ followed by {', '.join(tracking.CALLS)}", ACROSS_ORIGINS)
    known = ", ".join(f"/webhooks/{name}" for name in (segment.NAME, *reception.platforms))
    return said(404, f"unknown provider; known are {known}")


def _refusal(error: ConnectorError, door: Entrance) -> tuple[int, str, dict[str, str]]:
    """Status, the reason it is counted under, and headers; the status as this door's sender reads it.

    What may be right the next time is never "do not come again".
    """
    status, reason, headers = _kind(error)
    if status == 401 and door.basic:
        headers = {"WWW-Authenticate": 'Basic realm="connector"'}
    return status if isinstance(error, CutShort) else door.answers.get(status, status), reason, headers


def _kind(error: ConnectorError) -> tuple[int, str, dict[str, str]]:
    """Status by our own lights, the reason it is counted under, and headers.

    Senders park or drop whole feeds on 4xx, so these are only for "who are you?" and "that is not JSON".
    """
    if isinstance(error, VerificationError):
        return 401, "unauthorized", {}
    if isinstance(error, ClosedError):
        return 403, "closed", {}
    if isinstance(error, TooLarge):
        return 413, "too_large", {}
    if isinstance(error, PayloadError):
        return 400, "not_json", {}
    if isinstance(error, StoreUnavailable | Unreachable):
        return 503, "unavailable", {"Retry-After": str(RETRY_AFTER_SECONDS)}
    raise error


def _json(status: int, value: Json, headers: Mapping[str, str]) -> Answer:
    return Answer(status, orjson.dumps(value), {**headers, "Content-Type": "application/json"})
