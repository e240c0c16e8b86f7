"""Klaviyo as a destination: profiles, events (one by one or in bulk) and deletions.

Every call may be repeated: a profile call updates, an event carries its ``unique_id``, of which Klaviyo keeps the
first, and deleting twice deletes once. 202 means validated and queued, and is all that Klaviyo ever says of an event.

Source: https://developers.klaviyo.com/en/reference/create_or_update_profile,
https://developers.klaviyo.com/en/reference/create_event, https://developers.klaviyo.com/en/reference/bulk_create_events
and https://developers.klaviyo.com/en/reference/request_profile_deletion
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

import orjson

from connector.config import Config
from connector.destinations import Request, Verdict
from connector.gate import Limit
from connector.klaviyo import fit
from connector.klaviyo.answers import verdict
from connector.klaviyo.conflict import Call, look_up
from connector.klaviyo.wire import LIMITS, LONGEST_RETRY_AFTER_SECONDS, Tier, errors_of, headers
from connector.messages import Milliseconds
from connector.queue import Delivery
from connector.retry import Terms

SINGLY: Final = 10
"""Up to so many events leave one by one: each is answered for itself, and 3,500 a minute may. More go in bulk, of
which 150 a minute may."""

MAX_BULK_EVENTS: Final = 1_000
MAX_BULK_BYTES: Final = 4_750_000
"""Klaviyo takes 5 MB; what stands around the events needs little of the rest."""

ITEM_BYTES: Final = 160
"""What stands around one event of a bulk request."""

ITEM: Final = re.compile(r"/data/attributes/events-bulk-create/data/(\d{1,4})(?=/|$)", re.ASCII)

NOBODY: Final = "Klaviyo has no profile with this external id: there is nothing to delete"


@dataclass(frozen=True, slots=True)
class Klaviyo:
    """The destination, as its mapping has it.

    on_conflict: what is done where two profiles know parts of one person: ``drop`` (the weaker identifier), ``merge``.
    """

    on_conflict: str = "drop"

    NAME: ClassVar[str] = "klaviyo"
    CLAIM: ClassVar[int] = MAX_BULK_EVENTS
    TERMS: ClassVar[Terms] = Terms(unknown_for_ms=None, longest_ask_seconds=LONGEST_RETRY_AFTER_SECONDS)
    TIERS: ClassVar[Mapping[str, tuple[Limit, ...]]] = LIMITS

    def ready(self, config: Config) -> bool:
        """Is there a key, and is Klaviyo to be written to? A key alone reads."""
        return bool(config.klaviyo_api_key) and self.NAME in config.destinations

    def problems(self, body: str, now: Milliseconds) -> list[str]:
        """Why Klaviyo would refuse this call, one sentence each."""
        return fit.problems(body, now)

    def batches(self, deliveries: Sequence[Delivery]) -> list[tuple[Delivery, ...]]:
        """Profiles and deletions one by one, events in bulk from eleven on.

        What concerns one subject keeps its order, and so do all events, and all others; but to make few requests of
        many events, an event may leave after what stood behind it, or before, if that concerns somebody else.
        """
        rounds: list[_Round] = []
        last: dict[int | None, tuple[int, bool]] = {}
        for one in deliveries:
            entry = _entry(one)
            number, was_event = last.get(one.subject_id, (0, False)) if one.subject_id is not None else (0, False)
            number += was_event and not entry.event  # a round's events leave after its other calls
            if number == len(rounds):
                rounds.append(_Round())
            (rounds[number].events if entry.event else rounds[number].others).append(entry)
            last[one.subject_id] = (number, entry.event)
        return [batch for each in rounds for batch in each.batches()]

    def tier(self, deliveries: Sequence[Delivery]) -> str:
        """The limits that the request for these counts towards."""
        if len(deliveries) > 1:
            return Tier.BULK
        call = orjson.loads(deliveries[0].body)
        if call["call"] == "deletion" and not _external_id_only(call["data"]):
            return Tier.PRIVACY
        return Tier.EVENTS if call["call"] == "event" else Tier.PROFILES

    def build_request(
        self, deliveries: Sequence[Delivery], config: Config, now: Milliseconds, retries: int = 0
    ) -> Request:
        """One request with all of them; more than one are events."""
        with_key = headers(config.klaviyo_api_key)
        url = config.klaviyo_api_url
        if len(deliveries) > 1:
            document = orjson.dumps(bulk([orjson.loads(one.body)["data"] for one in deliveries]))
            return Request(f"{url}/api/event-bulk-create-jobs", with_key, document, tier=Tier.BULK, read=_after_bulk)
        call = orjson.loads(deliveries[0].body)
        if call["call"] == "event":
            document = orjson.dumps({"data": call["data"]})
            return Request(f"{url}/api/events", with_key, document, tier=Tier.EVENTS, read=_after_event)
        if call["call"] == "deletion":
            return _deletion(url, with_key, call["data"])
        return Call(url, with_key, call["data"], merge=self.on_conflict == "merge").first()

    def read_response(self, status: int, headers: Mapping[str, str], body: bytes, now: Milliseconds) -> Verdict:
        """What an answer means that no request's own reader knows better."""
        return verdict(status, headers, body, fine=(200, 201, 202))


def bulk(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The document of an event-bulk-create-job, from the ``data`` of single events; the places stay the same."""
    items = [{"type": "event-bulk-create", "attributes": _item(event)} for event in events]
    attributes = {"events-bulk-create": {"data": items}}
    return {"data": {"type": "event-bulk-create-job", "attributes": attributes}}


def _item(event: Mapping[str, Any]) -> dict[str, Any]:
    attributes = dict(event["attributes"])
    profile = attributes.pop("profile")
    return {"profile": profile, "events": {"data": [{"type": "event", "attributes": attributes}]}}


# -- cutting ------------------------------------------------------------------------------------------------------


class _Entry(NamedTuple):
    """key: what Klaviyo tells repeated events by; of two with the same, a bulk request is refused as a whole."""

    delivery: Delivery
    event: bool
    key: bytes
    size: int


@dataclass(slots=True)
class _Round:
    """Calls that may leave in one go: first the others, then the events."""

    others: list[_Entry] = field(default_factory=list)
    events: list[_Entry] = field(default_factory=list)

    def batches(self) -> Iterator[tuple[Delivery, ...]]:
        yield from ((one.delivery,) for one in self.others)
        if len(self.events) <= SINGLY:
            yield from ((one.delivery,) for one in self.events)
            return
        batch: list[Delivery] = []
        keys: set[bytes] = set()
        size = 0
        for one in self.events:
            full = len(batch) == MAX_BULK_EVENTS or size + one.size > MAX_BULK_BYTES
            if batch and (full or one.key in keys):
                yield tuple(batch)
                batch, keys, size = [], set(), 0
            batch.append(one.delivery)
            keys.add(one.key)
            size += one.size
        yield tuple(batch)


def _entry(one: Delivery) -> _Entry:
    call = orjson.loads(one.body)
    if call["call"] != "event":
        return _Entry(one, False, b"", 0)
    event = call["data"]["attributes"]
    key = orjson.dumps([event["profile"], event["metric"], event.get("unique_id")], option=orjson.OPT_SORT_KEYS)
    return _Entry(one, True, key, len(one.body.encode()) + ITEM_BYTES)


# -- reading ------------------------------------------------------------------------------------------------------


def _after_event(status: int, headers: Mapping[str, str], body: bytes, _now: Milliseconds) -> Verdict:
    return verdict(status, headers, body, fine=(202,))


def _after_bulk(status: int, headers: Mapping[str, str], body: bytes, _now: Milliseconds) -> Verdict:
    found = verdict(status, headers, body, fine=(202,))
    if status != 400:
        return found
    bad: dict[int, str] = {}
    for error in errors_of(body):
        place = ITEM.match(error.pointer)
        if place:
            inside = replace(error, pointer=error.pointer[place.end() :])
            bad.setdefault(int(place[1]), f"HTTP 400 {inside}")
    return replace(found, bad=bad)


# -- deleting -----------------------------------------------------------------------------------------------------


def _external_id_only(data: Mapping[str, Any]) -> bool:
    return "external_id" in (data["attributes"]["profile"]["data"].get("attributes") or {})


def _deletion(url: str, with_key: Mapping[str, str], data: Mapping[str, Any]) -> Request:
    """Klaviyo deletes by id, email or phone number; an external id has to be looked up first."""
    request = partial(_delete, url, with_key)
    if not _external_id_only(data):
        return request(data)
    external_id = data["attributes"]["profile"]["data"]["attributes"]["external_id"]

    def found(document: Mapping[str, Any]) -> Verdict:
        profiles = document.get("data")
        if profiles == []:
            return Verdict("delivered", NOBODY, erase=True)
        own = profiles[0].get("id") if isinstance(profiles, list) and isinstance(profiles[0], dict) else None
        if not isinstance(own, str):
            return Verdict("unknown", "HTTP 200, but without a profile's id (a proxy?)", retryable=True)
        profile = {"data": {"type": "profile", "id": own, "attributes": {}}}
        return Verdict("refused", "its profile was found", then=request({**data, "attributes": {"profile": profile}}))

    return look_up(url, with_key, "external_id", external_id, found)


def _delete(url: str, with_key: Mapping[str, str], data: Mapping[str, Any]) -> Request:
    document = orjson.dumps({"data": data})
    return Request(f"{url}/api/data-privacy-deletion-jobs", with_key, document, tier=Tier.PRIVACY, read=_after_deletion)


def _after_deletion(status: int, headers: Mapping[str, str], body: bytes, _now: Milliseconds) -> Verdict:
    return replace(verdict(status, headers, body, fine=(200, 202)), erase=True)
