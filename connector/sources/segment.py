"""Segment's webhook destinations: classic, Actions and Extensible; one event or an array of them.

Source: https://segment.com/docs/connections/destinations/catalog/actions-webhook/ and the code of
segmentio/action-destinations, ``destinations/webhook`` and ``webhook-extensible`` (read 2026-11-21)
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from connector import verify
from connector.elements import Element, decode, dumps, first_slice, split, storable
from connector.errors import PayloadError, VerificationError
from connector.messages import Milliseconds, Received
from connector.sources import Incoming, SecretsOf, opened, received

NAME: Final = "segment"
SECRETS: Final = "SEGMENT_SHARED_SECRETS"
TOKENS: Final = "SEGMENT_WEBHOOK_TOKENS"

FORM: Final = "the element is form-encoded: set the header Content-Type of the webhook to application/json"

_JSON_MEMBER: Final = re.compile(r'\{\s*+"json"\s*+:\s*+(.*?)\s*+\}\Z', re.DOTALL)


def read(request: Incoming, secrets_of: SecretsOf, now: Milliseconds) -> list[Received]:
    """The events of one webhook request.

    Segment signs the first element of an array only, so elements 2…n are authenticated by the second factor, or
    by a signature over the whole body (announced upstream, and what a single event has).

    Raises: ClosedError, VerificationError, PayloadError.
    """
    secrets = opened(secrets_of, SECRETS)
    vouched = _second_factor(request, secrets_of(TOKENS))
    signature = request.headers.get("x-signature")
    whole = verify.segment(secrets, signature, request.body)
    if not whole and not _first_signed(secrets, signature, request.body):
        raise VerificationError(f"X-Signature does not match: the webhook's shared secret must be one of {SECRETS}")
    return [
        one if whole or vouched or number == 0 else replace(one, authenticated=False)
        for number, one in enumerate(taken(request, now))
    ]


def taken(request: Incoming, now: Milliseconds) -> list[Received]:
    """The events of a request, whoever sent it.

    Raises: PayloadError.
    """
    found = [storable(_unwrapped(element)) for element in split(decode(request.body))]
    return [received(NAME, element, _message_id(element), now) for element in found]


def _second_factor(request: Incoming, tokens: tuple[str, ...]) -> bool:
    """Did the sender show the second factor? False if none is configured.

    Raises: VerificationError if one is configured and was not shown.
    """
    if not tokens:
        return False
    given = verify.bearer(request.headers.get("authorization"))
    if verify.token(tokens, given) or verify.token(tokens, request.token):
        return True
    raise VerificationError(f"the second factor is missing or wrong: send Authorization: Bearer with one of {TOKENS}")


def _first_signed(secrets: tuple[str, ...], signature: str | None, body: bytes) -> bool:
    try:
        first = first_slice(decode(body)) if signature else None
    except PayloadError:
        return False
    return first is not None and verify.segment(secrets, signature, first.encode())


def _unwrapped(element: Element) -> Element:
    """Extensible Webhook wraps each event of a batch into the options it makes its request with."""
    value = element.value
    if not isinstance(value, dict) or len(value) != 1:
        return element
    if isinstance(value.get("body"), str):
        return replace(element, rotten=FORM)
    if not isinstance(value.get("json"), dict):
        return element
    slice_ = _JSON_MEMBER.match(element.text)
    return Element(slice_[1] if slice_ else dumps(value["json"]), value["json"], element.rotten)


def _message_id(element: Element) -> object:
    return element.value.get("messageId") if isinstance(element.value, dict) else None
