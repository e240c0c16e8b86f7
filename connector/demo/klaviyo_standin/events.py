"""The endpoints that take events: one, or a thousand at once. 202 means queued, and nothing more.

Source: https://developers.klaviyo.com/en/reference/create_event, …/bulk_create_events
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from connector.demo.klaviyo_standin.account import Account, Call, Dropped, Reply
from connector.demo.klaviyo_standin.people import Profile
from connector.demo.klaviyo_standin.problems import Mistake, Problem
from connector.demo.klaviyo_standin.profiles import identifiers_of, write
from connector.demo.klaviyo_standin.schemas import BULK_EVENTS, EVENT_BULK_CREATE, EVENT_CREATE
from connector.messages import DAY, SECOND

EVENT_BYTES: Final = 5 * 1024 * 1024
EARLIEST: Final = 631_152_000
"""1990, in seconds."""

YEAR: Final = 365 * DAY
ITEMS: Final = "/data/attributes/events-bulk-create/data"


def create(account: Account, call: Call) -> Reply:
    """POST /api/events."""
    _small(call)
    attributes = EVENT_CREATE.read(call.document)["attributes"]
    who = attributes["profile"]["data"]
    mistakes: list[Mistake] = []
    _check_profile(who, "/data/attributes/profile/data", mistakes)
    second = _second(account, attributes, "/data/attributes/time", mistakes)
    if mistakes:
        raise Problem(400, mistakes)
    profile = _profile(account, who)
    if profile is not None:
        _keep(account, profile, who, attributes, second, bool(attributes.get("backfill")))
    return Reply(202)


def create_many(account: Account, call: Call) -> Reply:
    """POST /api/event-bulk-create-jobs: all of them are taken, or none with a pointer to each that is wrong."""
    _small(call)
    items = EVENT_BULK_CREATE.read(call.document)["attributes"]["events-bulk-create"]["data"]
    mistakes: list[Mistake] = []
    if sum(len(item["attributes"]["events"]["data"]) for item in items) > BULK_EVENTS:
        mistakes.append(Mistake(f"At most {BULK_EVENTS} events are taken in one request.", ITEMS))
    seconds = _check_items(account, items, mistakes)
    if mistakes:
        raise Problem(400, mistakes)
    for item, item_seconds in zip(items, seconds, strict=True):
        attributes = item["attributes"]
        who = attributes["profile"]["data"]
        profile = _profile(account, who)
        if profile is None:
            continue
        for event, second in zip(attributes["events"]["data"], item_seconds, strict=True):
            backfill = event["attributes"].get("backfill")
            backfill = attributes.get("backfill") if backfill is None else backfill
            _keep(account, profile, who, event["attributes"], second, bool(backfill))
    return Reply(202)


def _check_items(account: Account, items: list[Any], mistakes: list[Mistake]) -> list[list[int]]:
    """The second of every event; and what the shape alone does not tell."""
    seconds: list[list[int]] = []
    seen: set[tuple[object, object, object]] = set()
    for index, item in enumerate(items):
        attributes = item["attributes"]
        who = attributes["profile"]["data"]
        _check_profile(who, f"{ITEMS}/{index}/attributes/profile/data", mistakes)
        same = _same_profile(account, who)
        seconds.append([])
        for number, event in enumerate(attributes["events"]["data"]):
            pointer = f"{ITEMS}/{index}/attributes/events/data/{number}/attributes"
            seconds[-1].append(_second(account, event["attributes"], f"{pointer}/time", mistakes))
            unique_id = event["attributes"].get("unique_id")
            metric = event["attributes"]["metric"]["data"]["attributes"]
            key = (same, (metric["name"], metric.get("service")), unique_id)
            if unique_id is not None and key in seen:
                detail = "This unique_id is repeated for the same profile and metric within the request."
                mistakes.append(Mistake(detail, f"{pointer}/unique_id"))
            seen.add(key)
    return seconds


def _same_profile(account: Account, who: Mapping[str, Any]) -> object:
    """Something equal for two resources that mean one profile."""
    identifiers = identifiers_of(who)
    target = account.people.plan(identifiers).target
    return target.id if target is not None else next(((k, v) for k, v in identifiers.items() if v), None)


def _check_profile(who: Mapping[str, Any], pointer: str, mistakes: list[Mistake]) -> None:
    if not any(identifiers_of(who).values()):
        detail = "One or more of the identifiers id, email, phone_number, external_id, anonymous_id, _kx is required."
        mistakes.append(Mistake(detail, f"{pointer}/attributes"))


def _second(account: Account, attributes: Mapping[str, Any], pointer: str, mistakes: list[Mistake]) -> int:
    """The event's time, its fraction cut off; the receipt if none is given."""
    now = account.clock()
    given = attributes.get("time")
    if given is None:
        return now // SECOND
    try:
        time = datetime.fromisoformat(given)
        second = int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() // 1)
    except (ValueError, OverflowError):
        mistakes.append(Mistake("Not a valid ISO 8601 datetime.", pointer))
        return 0
    if second < EARLIEST:
        mistakes.append(Mistake("The time has to be after 1990.", pointer))
    elif second * SECOND > now + YEAR:
        mistakes.append(Mistake("The time has to be within a year from now.", pointer))
    return second


def _profile(account: Account, who: Mapping[str, Any]) -> Profile | None:
    """Whose the events are; a new profile if nobody has the identifiers, None if an id or a token leads nowhere.

    An identifier in conflict stays where it is: an event is never answered 409.
    """
    identifiers = identifiers_of(who)
    for kind in ("id", "_kx"):
        value = identifiers[kind]
        if value and account.people.find(kind, value) is None:
            identifiers[kind] = None
            account.dropped.append(Dropped(f"an unknown {kind}", value))
    if not any(identifiers.values()):
        return None
    plan = account.people.plan(identifiers)
    for kind, other in plan.conflicts.items():
        account.dropped.append(Dropped(f"the {kind} of an event stays on another profile", other.id))
    now = account.clock()
    profile, _ = account.people.apply(plan, identifiers, now, now + account.later_ms)
    patch = {"patch_properties": (who.get("meta") or {}).get("patch_properties")}
    write(account, profile, {"attributes": _without_cleared(who["attributes"]), "meta": patch})
    return profile


def _without_cleared(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """An event clears no identifier."""
    return {name: value for name, value in attributes.items() if value is not None}


def _keep(
    account: Account, profile: Profile, who: Mapping[str, Any], attributes: Mapping[str, Any], second: int, late: bool
) -> None:
    now = account.clock()
    named = attributes["metric"]["data"]["attributes"]
    metric = account.history.metric(named["name"], named.get("service") or "api", now)
    properties = dict(attributes["properties"])
    if attributes.get("value") is not None:
        properties["$value"] = attributes["value"]
    if attributes.get("value_currency") is not None:
        properties["$value_currency"] = attributes["value_currency"]
    event = account.history.add(
        metric,
        profile,
        second,
        properties,
        attributes.get("unique_id"),
        backfill=late,
        given={kind: value for kind, value in identifiers_of(who).items() if value},
        due=now + account.later_ms,
    )
    if event is None:
        account.dropped.append(Dropped("a repeated event", attributes))
    else:
        account.announce(event)


def _small(call: Call) -> None:
    if call.size > EVENT_BYTES:
        detail = f"A request with events is at most {EVENT_BYTES} bytes long."
        raise Problem(413, [Mistake(detail, "/data", code="payload_too_large")])
