"""Klaviyo's system webhooks: up to 1,000 events a delivery, each with Klaviyo's own event id.

Source: https://developers.klaviyo.com/en/docs/working_with_system_webhooks (second hand, read 2026-11-21)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from connector import verify
from connector.elements import Element, decode, split_member, storable
from connector.errors import VerificationError
from connector.messages import Milliseconds, Received
from connector.sources import Incoming, SecretsOf, opened, received

NAME: Final = "klaviyo"
SECRETS: Final = "KLAVIYO_WEBHOOK_SECRETS"

NO_DATA: Final = 'the delivery is not what a Klaviyo system webhook sends: expected {"data": […], "meta": {…}}'


def read(request: Incoming, secrets_of: SecretsOf, now: Milliseconds) -> list[Received]:
    """The events of one delivery; the envelope of each is the delivery's ``{"meta": …}``.

    Raises: ClosedError, VerificationError, PayloadError.
    """
    secrets = opened(secrets_of, SECRETS)
    headers = request.headers
    stamp = headers.get("klaviyo-timestamp")
    if not verify.klaviyo(secrets, headers.get("klaviyo-signature"), stamp, request.body):
        raise VerificationError(f"Klaviyo-Signature does not match: the webhook's secret must be one of {SECRETS}")
    text = decode(request.body)
    members, found = split_member(text, "data")
    meta = members.get("meta")
    _check_webhook(meta, headers.get("klaviyo-webhook-id"))
    if found is None:
        found = [replace(Element(text.strip()), rotten=NO_DATA)]
    envelope = f'{{"meta":{meta.text}}}' if meta is not None and meta.rotten is None else None
    return [received(NAME, element, _event_id(element), now, envelope=envelope) for element in map(storable, found)]


def _check_webhook(meta: Element | None, header: str | None) -> None:
    """The header is not signed, the body is: two names for one delivery mean that somebody mixed them."""
    signed = meta.value.get("klaviyo_webhook_id") if meta is not None and isinstance(meta.value, dict) else None
    if isinstance(signed, str) and header is not None and signed != header:
        raise VerificationError("Klaviyo-Webhook-Id and meta.klaviyo_webhook_id name two different webhooks")


def _event_id(element: Element) -> object:
    return element.value.get("external_id") if isinstance(element.value, dict) else None
