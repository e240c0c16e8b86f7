"""Segment's own tracking API under ``/v1``, so that any Segment library can be pointed at the connector.

analytics.js posts text/plain with the write key in the body, the server libraries JSON with Basic authentication:
the content type is never looked at, and the key may be in either place.

Source: https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/ (read 2026-11-21)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from connector import verify
from connector.elements import Element, decode, split, split_member, storable
from connector.errors import PayloadError, VerificationError
from connector.messages import TRACKING_TYPES, Milliseconds, Received
from connector.sources import Incoming, SecretsOf, opened, received

NAME: Final = "tracking_api"
SECRETS: Final = "SOURCE_WRITE_KEYS"

BATCH: Final = "batch"
CALLS: Final = {**{name: name for name in (*TRACKING_TYPES, BATCH)}, **{n[0]: n for n in (*TRACKING_TYPES, BATCH)}}
"""The calls by their long and their one-letter names, as analytics.js abbreviates them."""

NO_BATCH: Final = 'the batch has no array "batch"'
NO_DELETE: Final = "delete is not accepted here: only the signed Segment webhook and the operator may forget a person"

_ENVELOPE: Final = ("sentAt", "context", "integrations")


def read(request: Incoming, secrets_of: SecretsOf, now: Milliseconds) -> list[Received]:
    """The calls of one request to ``/v1/<call>``.

    The envelope of a batch is what it says about all its calls; that of a single call is the type that the path
    names, where the body names none.

    Raises: ClosedError, VerificationError, PayloadError.
    """
    keys = opened(secrets_of, SECRETS)
    call = CALLS[request.path.rsplit("/", 1)[1]]
    known = verify.token(keys, verify.basic_user(request.headers.get("authorization")))
    try:
        text = decode(request.body)
        return _batch(text, keys, known, now) if call == BATCH else _single(text, keys, known, now, call)
    except PayloadError:
        _require(known)
        raise


def _batch(text: str, keys: tuple[str, ...], known: bool, now: Milliseconds) -> list[Received]:
    members, found = split_member(text, BATCH)
    _require(known or _key_in({name: member.value for name, member in members.items()}, keys))
    if found is None:
        found = [Element(text.strip(), rotten=NO_BATCH)]
    told = [f'"{name}":{members[name].text}' for name in _ENVELOPE if name in members and not members[name].rotten]
    envelope = "{" + ",".join(told) + "}" if told else None
    return [_call(element, now, envelope) for element in found]


def _single(text: str, keys: tuple[str, ...], known: bool, now: Milliseconds, call: str) -> list[Received]:
    found = split(text)
    _require(known or (len(found) == 1 and _key_in(found[0].value, keys)))
    typed = f'{{"type":"{call}"}}'
    return [_call(one, now, None if isinstance(one.value, dict) and "type" in one.value else typed) for one in found]


def _call(element: Element, now: Milliseconds, envelope: str | None) -> Received:
    element = storable(element)
    value = element.value if isinstance(element.value, dict) else {}
    if str(value.get("type", "")).strip().lower() == "delete":
        element = replace(element, rotten=NO_DELETE)
    return received(NAME, element, value.get("messageId"), now, envelope=envelope)


def _key_in(value: object, keys: tuple[str, ...]) -> bool:
    given = value.get("writeKey") if isinstance(value, Mapping) else None
    return isinstance(given, str) and verify.token(keys, given)


def _require(known: bool) -> None:
    if not known:
        raise VerificationError(f"the write key is missing or wrong: it must be one of {SECRETS}")
