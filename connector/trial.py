"""What the mappings make of a request, step by step, without a store: for whoever writes or changes one.

    stored      the elements that the door would keep, and the key that tells each from its repeats
    understood  the Segment call, its identifiers, and the links it would show
    leaves      what would be sent for it, once its visitor is known

Nothing is verified and nothing is kept.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from connector import outbox, validate
from connector.errors import ConfigError, InvalidMessage
from connector.house import House
from connector.klaviyo import calls, wanted
from connector.messages import Email, Identifier, Json, Message, Milliseconds, Received, Stored, iso
from connector.sources import Incoming, declared, segment

VISITOR: Final = "the ids of its visitor, once they are known"
REPAIRED: Final = f'{VISITOR}; if it arrived with a usable id, it is not sent (forward = "repaired")'
FORGETS: Final = (
    "it forgets the person up to its time, where every element of the request is authenticated: sent alone, or with"
    " SEGMENT_WEBHOOK_TOKENS"
)
KLAVIYO: Final = "klaviyo, where DESTINATIONS names it"
IDENTIFIERS: Final = "email, phone_number, external_id"
PERSON: Final = "those of its visitor, once an address or a phone number is known"
LINES: Final = 3
"""Lines shown around a difference."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it would come in at a source's door, signature aside. Header names are in lower case."""

    source: str
    body: bytes
    headers: Mapping[str, str]


def run(request: Request, house: House, now: Milliseconds) -> list[dict[str, Json]]:
    """One object for each element of a request.

    Raises: ConfigError if there is no mapping for the source; PayloadError if the body is not what it should be.
    """
    return [
        {"stored": _stored(one), **_understood(one, number, house)}
        for number, one in enumerate(_taken(request, house, now), 1)
    ]


def difference(before: Sequence[Json], after: Sequence[Json]) -> Iterator[str]:
    """The lines of a unified diff between two trials, none if they are the same."""
    left, right = _lines(before), _lines(after)
    yield from difflib.unified_diff(left, right, "as it is", "as it would be", n=LINES, lineterm="")


def _taken(request: Request, house: House, now: Milliseconds) -> list[Received]:
    source = house.mappings.sources.get(request.source)
    if source is None:
        known = ", ".join(sorted(house.mappings.sources))
        raise ConfigError(f"SOURCE: there is no mapping for '{request.source}'; there are {known}")
    incoming = Incoming("POST", f"/webhooks/{request.source}", request.headers, request.body, now=now)
    if request.source == segment.NAME:
        return segment.taken(incoming, now)
    return declared.taken(source, incoming, now)


def _stored(one: Received) -> dict[str, Json]:
    return {"message_id": one.message_id, "body": one.body, "beside": one.envelope}


def _understood(one: Received, number: int, house: House) -> dict[str, Json]:
    stored = Stored(
        number, one.source, one.message_id, one.body, one.received_at, one.authenticated, one.envelope, one.rotten
    )
    try:
        message = validate.read(stored, house.reader)
    except InvalidMessage as error:
        return {"quarantined": list(error.reasons)}
    told: dict[str, Json] = {
        "understood": {
            "type": message.type,
            "event": message.event,
            "at": iso(message.at),
            "identifiers": [_shown(each) for each in message.identifiers],
            "links": [
                {"kind": kind, "left": _shown(left), "right": _shown(right)} for left, right, kind in message.links
            ],
            "notes": list(message.notes),
        }
    }
    return {**told, "leaves": _leaves(message, message.email, house)}


def _shown(identifier: Identifier) -> dict[str, str]:
    return {"type": identifier.type, "value": identifier.value}


def _leaves(message: Message, email: Email | None, house: House) -> dict[str, Json]:
    """What would be sent where, or why nothing would."""
    if validate.is_echo(message, house.reader):
        return {"nothing": "an event of ours that came back"}
    if message.type == "delete":
        return {"nothing": FORGETS}
    if email is None:
        return _into_klaviyo(message, house) or {"nothing": "not an email event: read as evidence"}
    if email.ignored:
        return {"nothing": email.ignored}
    body = outbox.compose(message, email, house.mappings, house.destination, house.keys)
    if not house.destination.subscribes(body):
        return {"nothing": f"destinations/{house.destination.name}.toml does not subscribe to it"}
    ids = REPAIRED if email.forward == "repaired" else VISITOR
    return {house.destination.name: {**body, "userId, anonymousId": ids}}


def _into_klaviyo(message: Message, house: House) -> dict[str, Json]:
    """What Klaviyo would be told of the site's own call; empty if nothing."""
    mapping = house.mappings.klaviyo
    why = wanted.refusal(message, mapping)
    if why is not None:
        return {"nothing": f"read as evidence; not for Klaviyo: {why}"}
    call = calls.call_of(message)
    drafts = calls.compose(call, message.at, message.message_id, mapping)
    if not drafts:
        return {}
    told = [
        {one.kind: one.body["data"]["attributes"], IDENTIFIERS: PERSON} | ({"notes": [*one.notes]} if one.notes else {})
        for one in drafts
    ]
    return {KLAVIYO: told}


def _lines(trial: Sequence[Json]) -> list[str]:
    return orjson.dumps(trial, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode().splitlines()


# -- for people ---------------------------------------------------------------------------------------------------


def story(trial: Sequence[Mapping[str, Json]]) -> Iterator[str]:
    """A trial in lines that people read."""
    if not trial:
        yield "the request has no elements: nothing would be stored"
    for number, one in enumerate(trial, 1):
        yield f"{number}. stored as {one['stored']['message_id']}"
        if "quarantined" in one:
            yield from (f"   quarantined: {reason}" for reason in one["quarantined"])
            continue
        yield from _understanding(one["understood"])
        yield from _leaving(one["leaves"])


def _understanding(told: Mapping[str, Json]) -> Iterator[str]:
    yield f"   understood   {told['event'] or told['type']}  at {told['at']}"
    yield from _listed("identifiers", [f"{one['type']} {one['value']}" for one in told["identifiers"]])
    yield from _listed("links", [f"{_pair(one)}  ({one['kind']})" for one in told["links"]])
    yield from _listed("notes", told["notes"])


def _leaving(told: Mapping[str, Json]) -> Iterator[str]:
    for destination, body in told.items():
        if destination == "nothing":
            yield f"   leaves       nothing: {body}"
        else:
            yield f"   leaves       for {destination}:"
            yield from (f"     {line}" for line in orjson.dumps(body, option=orjson.OPT_INDENT_2).decode().splitlines())


def _pair(link: Mapping[str, Json]) -> str:
    return " ~ ".join(f"{link[end]['type']} {link[end]['value']}" for end in ("left", "right"))


def _listed(name: str, texts: Sequence[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        yield f"   {name if number == 0 else '':12} {text}"
