"""Klaviyo's system webhooks: up to 1,000 events a delivery, each with Klaviyo's own event id.

Source: https://developers.klaviyo.com/en/docs/working_with_system_webhooks (second hand, read 2026-11-21)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector import verify
from connector.elements import Element, decode, split_member
from connector.errors import VerificationError
from connector.sources import Incoming, Split

NO_DATA: Final = 'the delivery is not what a Klaviyo system webhook sends: expected {"data": […], "meta": {…}}'


def signed(request: Incoming, secrets: Sequence[str]) -> bool:
    """Are body and time stamp signed with one of the webhook's secrets?"""
    headers = request.headers
    return verify.klaviyo(secrets, headers.get("klaviyo-signature"), headers.get("klaviyo-timestamp"), request.body)


def split(request: Incoming) -> Split:
    """The events of one delivery; beside each, the delivery's ``{"meta": …}``.

    Raises: VerificationError if header and body name two webhooks; PayloadError.
    """
    text = decode(request.body)
    members, found = split_member(text, "data")
    meta = members.get("meta")
    _check_webhook(meta, request.headers.get("klaviyo-webhook-id"))
    if found is None:
        found = [Element(text.strip(), rotten=NO_DATA)]
    beside = f'{{"meta":{meta.text}}}' if meta is not None and meta.rotten is None else None
    return [(element, beside) for element in found]


def _check_webhook(meta: Element | None, header: str | None) -> None:
    """The header is not signed, the body is: two names for one delivery mean that somebody mixed them."""
    told = meta.value.get("klaviyo_webhook_id") if meta is not None and isinstance(meta.value, dict) else None
    if isinstance(told, str) and header is not None and told != header:
        raise VerificationError("Klaviyo-Webhook-Id and meta.klaviyo_webhook_id name two different webhooks")
