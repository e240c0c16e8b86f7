"""Klaviyo's system webhooks: up to 1,000 events a delivery, each with Klaviyo's own event id.

The API gives the same events under the same ids. Whichever channel is first, what is stored is the same.

Source: https://developers.klaviyo.com/en/docs/working_with_system_webhooks (second hand, read 2026-11-21)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from connector import verify
from connector.elements import Element, decode, dumps, split_member
from connector.errors import VerificationError
from connector.messages import Json
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
    return [(_alike(element), beside) for element in found]


def alike(event: Mapping[str, Json]) -> dict[str, Json]:
    """An event's document as webhooks are documented to give it, whichever channel it came by: the API has links too,
    and a T in its times.
    """
    told = {name: value for name, value in event.items() if name != "links"}
    attributes = told.get("attributes")
    at = attributes.get("datetime") if isinstance(attributes, dict) else None
    if isinstance(attributes, dict) and isinstance(at, str):
        told["attributes"] = {**attributes, "datetime": f"{at[:10]} {at[11:]}" if at[10:11] == "T" else at}
    named = told.get("relationships")
    if isinstance(named, dict):
        told["relationships"] = {
            name: {"data": one["data"]} for name, one in named.items() if isinstance(one, dict) and one.get("data")
        }
    return told


def _alike(element: Element) -> Element:
    """An element with its event as both channels give it: for most of them its own text."""
    value = element.value
    if element.rotten is not None or not isinstance(value, dict):
        return element
    payload = value.get("payload")
    event = payload.get("data") if isinstance(payload, dict) else None
    if not isinstance(payload, dict) or not isinstance(event, dict):
        return element
    same = alike(event)
    if same == event:
        return element
    told = {**value, "payload": {**payload, "data": same}}
    return replace(element, text=dumps(told), value=told)


def _check_webhook(meta: Element | None, header: str | None) -> None:
    """The header is not signed, the body is: two names for one delivery mean that somebody mixed them."""
    told = meta.value.get("klaviyo_webhook_id") if meta is not None and isinstance(meta.value, dict) else None
    if isinstance(told, str) and header is not None and told != header:
        raise VerificationError("Klaviyo-Webhook-Id and meta.klaviyo_webhook_id name two different webhooks")
