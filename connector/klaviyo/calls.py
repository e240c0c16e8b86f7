"""Klaviyo's calls, made of Segment's: pure, so that the same call is the same body whenever it is made.

``compose`` makes what a call says, ``address`` says of whom: a delivery may wait for its visitor in between. A body is
JSON text, frozen once it is addressed; ``destinations.klaviyo`` sends it. Identifiers come from evidence alone, never
from the call, and an anonymousId is in none of them: Klaviyo would make a person of it that nobody finds again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from connector.klaviyo import fields
from connector.klaviyo.limits import fitting, text
from connector.klaviyo.mapping import KlaviyoMapping
from connector.klaviyo.shaped import events, pick, rest
from connector.language import UNDEFINED
from connector.messages import Json, Message, Milliseconds, iso

COMPOSED: Final = ("identify", "track", "page", "screen", "group")

SEEN: Final = ("type", "event", "name", "properties", "traits", "context")
"""What a mapping sees of a call. Not its ids: whose it is, evidence says."""

LONGEST_UNIQUE_ID: Final = 255
PROFILE_ROOM: Final = 80_000
"""Bytes for a profile's own properties: Klaviyo refuses a profile of more than 100 KB as a whole.

Source: https://developers.klaviyo.com/en/reference/create_or_update_profile
"""

EVENT_OWN: Final = ("profile", "backfill")
"""What ``address`` adds to an event."""


@dataclass(frozen=True, slots=True)
class Who:
    """The identifiers that evidence joined; Klaviyo makes one person of all that stand in a call."""

    email: str | None = None
    phone: str | None = None
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A call of Klaviyo's that does not say yet whose it is.

    key: what tells it from the others of its message, "" or "/0", "/1" …, to be put behind the messageId. kind:
    profile or event. body: see ``address``. notes: what was shortened or left out, in sentences without its content.
    """

    key: str
    kind: str
    body: dict[str, Any]
    notes: tuple[str, ...] = ()


def call_of(message: Message) -> dict[str, Json]:
    """A message as ``compose`` takes it."""
    return {
        "type": message.type,
        "event": message.event,
        "properties": message.properties,
        "traits": message.traits,
        "context": message.context,
    }


def compose(call: Mapping[str, Json], at: Milliseconds, message_id: str, mapping: KlaviyoMapping) -> list[Draft]:
    """What Klaviyo is told of a call, nothing if the mapping does not subscribe to it. It never raises.

    Args: call is a Segment call as ``Message`` has it (for page and screen its event is the name of the page), from
    whose URLs link tokens were taken already.
    """
    if call.get("type") not in COMPOSED:
        return []
    payload = _payload(call, at, message_id)
    if not mapping.subscribes(payload):
        return []
    drafts: list[Draft] = []
    if mapping.profile.subscribes(payload):
        drafts.append(_profile(payload, mapping))
    event = next((one for one in mapping.events if one.subscribes(payload)), None)
    if event is not None:
        notes: list[str] = []
        for number, attributes in enumerate(events(event, payload, mapping, notes)):
            key = f"/{number - 1}" if number else "/event" if drafts else ""
            attributes |= {"time": iso(at), "unique_id": _unique_id(message_id, key)}
            body = {"call": "event", "data": {"type": "event", "attributes": attributes}}
            drafts.append(Draft(key, "event", body, tuple(dict.fromkeys(notes))))
    return drafts


def _payload(call: Mapping[str, Json], at: Milliseconds, message_id: str) -> dict[str, Json]:
    payload = {name: call[name] for name in SEEN if call.get(name) is not None}
    if call["type"] in ("page", "screen"):
        payload.setdefault("name", payload.get("event"))
    if call["type"] != "track":
        payload.pop("event", None)
    return {**payload, "messageId": message_id, "timestamp": iso(at)}


def _profile(payload: Mapping[str, Json], mapping: KlaviyoMapping) -> Draft:
    """null clears a field at Klaviyo, as a trait that is null does at Segment; what is not there stays as it is."""
    notes: list[str] = []
    attributes: dict[str, Any] = {}
    for name, values in mapping.profile.shape.fields.items():
        value = pick(values, payload, fields.ATTRIBUTES[name], notes, name)
        if value is not UNDEFINED:
            group, dot, inner = name.partition(".")
            target = attributes.setdefault(group, {}) if dot else attributes
            target[inner or name] = value
    own = rest(mapping.profile.shape, payload, mapping.never, notes)
    own = _within_room(fitting(own, mapping.never, notes), notes)
    if own:
        attributes["properties"] = own
    body = {"call": "profile", "data": {"type": "profile", "attributes": attributes}}
    return Draft("", "profile", body, tuple(dict.fromkeys(notes)))


def _within_room(properties: dict[str, Json], notes: list[str]) -> dict[str, Json]:
    """The properties in their order, but for those that would make the profile too large."""
    room = PROFILE_ROOM
    kept: dict[str, Json] = {}
    for name, value in properties.items():
        size = len(orjson.dumps({name: value}))
        if size <= room:
            kept[name] = value
            room -= size
    if len(kept) < len(properties):
        notes.append(f"{len(properties) - len(kept)} properties are too large for a profile and do not leave")
    return kept


def _unique_id(message_id: str, key: str) -> str:
    """The messageId with the draft's key, or a digest where that is longer than Klaviyo takes."""
    whole = message_id + key
    if whole == text(whole) and 0 < len(whole) <= LONGEST_UNIQUE_ID:
        return whole
    return hashlib.sha256(message_id.encode(errors="surrogatepass")).hexdigest() + key


# -- addressing ---------------------------------------------------------------------------------------------------


def accepted(who: Who) -> Who:
    """Those identifiers that Klaviyo takes: an address, a number with its country, an id that is not too long."""
    return Who(fields.email(who.email), fields.phone(who.phone), fields.external_id(who.external_id))


def address(draft_body: Mapping[str, Any], who: Who, *, backfill: bool) -> str:
    """The body with its identifiers, as JSON text: frozen from here on.

    ``{"call": "profile" | "event", "data": …}``, data being what the endpoint is given.

    Args: backfill is for events that wait no longer: Klaviyo records those and starts no flows.

    Raises: ValueError if Klaviyo accepts none of the identifiers, of a profile's neither address nor number.
    """
    known = accepted(who)
    named = {"email": known.email, "phone_number": known.phone, "external_id": known.external_id}
    named = {name: value for name, value in named.items() if value is not None}
    attributes = dict(draft_body["data"]["attributes"])
    if draft_body["call"] == "profile":
        if not (known.email or known.phone):
            raise ValueError("a profile needs an address or a phone number that Klaviyo accepts")
        attributes = {**named, **attributes}
    elif not named:
        raise ValueError("an event needs an identifier that Klaviyo accepts")
    else:
        attributes["profile"] = {"data": {"type": "profile", "attributes": named}}
        if backfill:
            attributes["backfill"] = True
    return orjson.dumps({**draft_body, "data": {**draft_body["data"], "attributes": attributes}}).decode()


def unaddressed(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body as ``compose`` made it, for somebody else, or for nobody yet."""
    ours = fields.IDENTIFIERS if body["call"] == "profile" else EVENT_OWN
    attributes = {name: value for name, value in body["data"]["attributes"].items() if name not in ours}
    return {**body, "data": {**body["data"], "attributes": attributes}}


def deletion(
    *,
    profile_id: str | None = None,
    email: str | None = None,
    phone: str | None = None,
    external_id: str | None = None,
) -> str:
    """The request to delete a person. Klaviyo takes exactly one identifier: of several the surest is used.

    An external id has to be looked up before, for Klaviyo does not delete by it.

    Raises: ValueError if Klaviyo accepts none of them.

    Source: https://developers.klaviyo.com/en/reference/request_profile_deletion
    """
    known = accepted(Who(email, phone, external_id))
    profile: dict[str, Any] = {"type": "profile"}
    if profile_id:
        profile |= {"id": profile_id, "attributes": {}}
    elif known.email:
        profile["attributes"] = {"email": known.email}
    elif known.phone:
        profile["attributes"] = {"phone_number": known.phone}
    elif known.external_id:
        profile["attributes"] = {"external_id": known.external_id}
    else:
        raise ValueError("a deletion needs an identifier that Klaviyo accepts")
    data = {"type": "data-privacy-deletion-job", "attributes": {"profile": {"data": profile}}}
    return orjson.dumps({"call": "deletion", "data": data}).decode()
