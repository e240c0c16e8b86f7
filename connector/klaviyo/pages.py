"""One page of ``GET /api/events``: what is asked for, and what of the answer goes into the inbox. No I/O.

An event becomes the very element that a system webhook would have brought, under the same id; what only the API says
stands beside it. The profiles of a page become records of their own.

Source: https://developers.klaviyo.com/en/reference/get_events
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from connector import sources
from connector.elements import Element, dumps, storable
from connector.errors import ConnectorError
from connector.keys import Keys
from connector.klaviyo import records
from connector.klaviyo.wire import quoted
from connector.mapped import HISTORY
from connector.messages import SECOND, Json, Milliseconds, Received, iso, parse_time
from connector.sources.klaviyo import alike

PATH: Final = "/api/events"
FULL: Final = "1000"
SMALL: Final = "100"

BESIDE: Final = ("email", "external_id")
"""What of an event's profile stands beside the event. A phone number is the record's to tell."""


class Unreadable(ConnectorError):
    """A page is not what the API's contract says, or leads nowhere."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Whose events a page has: the metric's id, and the word by which webhooks call it.

    history_until: what happened before is history; None if nothing is.
    """

    metric_id: str
    word: str
    history_until: Milliseconds | None


@dataclass(frozen=True, slots=True)
class Page:
    """A page, read. received: its elements, the profiles' records before the events.

    events: how many of them are events. profiles: message id of an event → profile id. reached: the latest event time
    that is not in the future, None if there is none. following: the query of the next page, None after the last.
    """

    received: tuple[Received, ...]
    events: int
    profiles: Mapping[str, str]
    reached: Milliseconds | None
    following: Mapping[str, str] | None


def query(metric_id: str, since: Milliseconds, until: Milliseconds | None, size: str = FULL) -> dict[str, str]:
    """The query of the first page of what happened from ``since`` on and before ``until``, oldest first."""
    wanted = [f"equals(metric_id,{quoted(metric_id)})", f"greater-or-equal(datetime,{_second(since)})"]
    if until is not None:
        wanted.append(f"less-than(datetime,{_second(until + SECOND - 1)})")
    return {
        "filter": ",".join(wanted),
        "sort": "datetime",
        "page[size]": size,
        "include": "profile",
        "fields[event]": "timestamp,datetime,event_properties,uuid",
        "fields[profile]": ",".join(records.IDENTIFYING),
    }


def read(document: Mapping[str, Any], asked: Mapping[str, str], slot: Slot, keys: Keys, now: Milliseconds) -> Page:
    """What a page says. Args: asked is the query it answers.

    Raises: Unreadable.
    """
    data = document.get("data")
    if not isinstance(data, list):
        raise Unreadable("Klaviyo's page of events has no list of them; is KLAVIYO_API_URL right?")
    included = {one["id"]: one.get("attributes") for one in _profiles(document.get("included"))}
    received: list[Received] = []
    profiles: dict[str, str] = {}
    reached = None
    for event in data:
        if not isinstance(event, dict) or not isinstance(event.get("id"), str) or not event["id"]:
            continue
        at = _time(event)
        reached = at if at is not None and at <= now and (reached is None or at > reached) else reached
        profile = _profile_id(event)
        one = _element(event, at, records.identifying(included.get(profile)), slot, now)
        received.append(one)
        if profile is not None:
            profiles[one.message_id] = profile
    told = (records.of_profile(name, attributes, keys, now) for name, attributes in included.items())
    return Page((*filter(None, told), *received), len(received), profiles, reached, _following(document, asked))


def profile_of(element: Mapping[str, Json]) -> str | None:
    """The id of the profile that a stored element names."""
    payload = element.get("payload")
    event = payload.get("data") if isinstance(payload, dict) else None
    return _profile_id(event) if isinstance(event, dict) else None


def _element(
    event: Mapping[str, Json], at: Milliseconds | None, profile: Mapping[str, str], slot: Slot, now: Milliseconds
) -> Received:
    body = {"external_id": event["id"], "topic": slot.word, "payload": {"data": alike(_with_metric(event, slot))}}
    beside: dict[str, Json] = {}
    known = {name: profile[name] for name in BESIDE if name in profile}
    if known:
        beside["profile"] = known
    if slot.history_until is not None and at is not None and at < slot.history_until:
        beside[HISTORY] = True
    element = storable(Element(dumps(body), body))
    return sources.received(records.SOURCE, element, event["id"], now, envelope=dumps(beside) if beside else None)


def _with_metric(event: Mapping[str, Json], slot: Slot) -> dict[str, Json]:
    """The event with its metric, which an answer may leave out where it was asked for by it."""
    named = event.get("relationships")
    named = named if isinstance(named, dict) else {}
    metric = {"data": {"type": "metric", "id": slot.metric_id}}
    return {**event, "relationships": {**named, "metric": metric}}


def _profiles(included: Json) -> Iterator[Mapping[str, Json]]:
    for one in included if isinstance(included, list) else ():
        if isinstance(one, dict) and one.get("type") == "profile" and isinstance(one.get("id"), str):
            yield one


def _profile_id(event: Mapping[str, Json]) -> str | None:
    named = event.get("relationships")
    profile = named.get("profile") if isinstance(named, dict) else None
    data = profile.get("data") if isinstance(profile, dict) else None
    found = data.get("id") if isinstance(data, dict) else None
    return found if isinstance(found, str) else None


def _time(event: Mapping[str, Json]) -> Milliseconds | None:
    attributes = event.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    at = parse_time(attributes.get("datetime"))
    seconds = attributes.get("timestamp")
    if at is None and isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < 1e11:
        return round(seconds * SECOND)
    return at


def _following(document: Mapping[str, Json], asked: Mapping[str, str]) -> dict[str, str] | None:
    """The query of ``links.next``. Only the query is taken, so that nobody sends the key to another host."""
    links = document.get("links")
    link = links.get("next") if isinstance(links, dict) else None
    if not link:
        return None
    try:
        found = dict(parse_qsl(urlsplit(link).query, strict_parsing=True)) if isinstance(link, str) else {}
    except ValueError:
        found = {}
    if not found or found == dict(asked):
        raise Unreadable("Klaviyo's link to the next page of events leads nowhere")
    return found


def _second(at: Milliseconds) -> str:
    """A time as filters take it; Klaviyo's clock has whole seconds."""
    return iso(at // SECOND * SECOND).replace(".000Z", "Z")
