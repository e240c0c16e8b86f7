"""The endpoints that are read page by page: events, metrics, profiles.

Source: https://developers.klaviyo.com/en/reference/get_events, …/get_metrics, …/get_profiles
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, Final, TypeVar

from connector.demo.klaviyo_standin import profiles
from connector.demo.klaviyo_standin.account import Account, Call, Reply
from connector.demo.klaviyo_standin.filters import (
    COMPARISONS,
    Condition,
    Cursor,
    conditions,
    cursor_of,
    holds,
    known_parameters,
    links,
    number_of,
    page_size,
    sparse,
)
from connector.demo.klaviyo_standin.history import Event, Metric, Place
from connector.demo.klaviyo_standin.people import Profile
from connector.demo.klaviyo_standin.problems import invalid, missing
from connector.messages import SECOND, iso

EVENT_FIELDS: Final = ("timestamp", "event_properties", "datetime", "uuid")
METRIC_FIELDS: Final = ("name", "created", "updated", "integration")
PROFILE_FIELDS: Final = (
    *("email", "phone_number", "external_id", *profiles.TRAITS),
    *("created", "updated", "last_event_date", "location", "properties", "subscriptions"),
    *(f"location.{name}" for name in profiles.PLACES),
)
EVENT_FILTERS: Final = {
    "metric_id": ("equals",),
    "profile_id": ("equals",),
    "profile": ("has",),
    "metric": ("has",),
    "datetime": COMPARISONS,
    "timestamp": COMPARISONS,
}
PROFILE_FILTERS: Final = {
    **dict.fromkeys(("id", "email", "phone_number", "external_id"), ("equals", "any")),
    "_kx": ("equals",),
    "created": ("greater-than", "less-than"),
    "updated": ("greater-than", "less-than"),
}
METRIC_FILTERS: Final = {"integration.name": ("equals",), "integration.category": ("equals",)}
METRICS_A_PAGE: Final = 200
T = TypeVar("T")


def events(account: Account, call: Call) -> Reply:
    """GET /api/events, in order of second and id; what is not readable yet is left out."""
    fields = [f"fields[{kind}]" for kind in ("event", "profile", "metric", "attribution")]
    known_parameters(call, "filter", "sort", "include", "page[size]", "page[cursor]", *fields)
    asked = [number_of(one) if one.operator in COMPARISONS else one for one in conditions(call, EVENT_FILTERS)]
    size = page_size(call, 200, 1_000)
    sort = call.query.get("sort", "datetime")
    if sort.removeprefix("-") not in ("datetime", "timestamp"):
        raise invalid(f"'{sort}' is not a valid sort value.", parameter="sort")
    cursor, descending = cursor_of(call), sort.startswith("-")
    backwards = descending != (cursor is not None and cursor.backwards)
    metrics = {one.value for one in asked if one.field == "metric_id"}
    metric_id = next(iter(metrics), None)
    lowest, highest = _bounds(asked)
    edge = (highest + 1, "") if backwards else (lowest, "")
    start = max(cursor.place, edge) if cursor and not backwards else min(cursor.place, edge) if cursor else edge
    found = account.history.read(metric_id, start, backwards=backwards)
    within = takewhile(lambda event: lowest <= event.second <= highest, found)
    matching = (event for event in within if all(_matches(event, one) for one in asked))
    page, more = _cut(matching, size)
    if cursor is not None and cursor.backwards:
        page.reverse()
    before, after = _ends([event.place for event in page], cursor, more)
    data = [event_document(account, call, event) for event in page]
    included = _included(account, call, page)
    return Reply(200, {"data": data, **included, "links": links(call, before, after)})


def one_event(account: Account, call: Call) -> Reply:
    """GET /api/events/{id}."""
    known_parameters(call, "include", *(f"fields[{kind}]" for kind in ("event", "profile", "metric", "attribution")))
    event = account.history.readable.get(call.names[0])
    if event is None:
        raise missing("event", call.names[0])
    included = _included(account, call, [event])
    return Reply(
        200, {"data": event_document(account, call, event), **included, "links": {"self": f"{call.base}{call.path}"}}
    )


def profile_of_event(account: Account, call: Call) -> Reply:
    """GET /api/events/{id}/profile."""
    event = account.history.readable.get(call.names[0])
    if event is None or event.profile is None:
        raise missing("event", call.names[0])
    return Reply(200, profiles.one(account, call, event.profile))


def metrics(account: Account, call: Call) -> Reply:
    """GET /api/metrics; there is no page size. A filter on the integration's category finds nothing."""
    known_parameters(call, "filter", "include", "page[cursor]", "fields[metric]", "fields[flow]")
    asked = conditions(call, METRIC_FILTERS)
    chosen = [
        metric
        for metric in account.history.metrics.values()
        if all(one.field == "integration.name" and metric.integration["name"] == one.value for one in asked)
    ]
    page, before, after = _slice({(0, metric.id): metric for metric in chosen}, cursor_of(call), METRICS_A_PAGE)
    data = [sparse(call, "metric", _metric(call, metric), METRIC_FIELDS) for metric in page]
    return Reply(200, {"data": data, "links": links(call, before, after)})


def many_profiles(account: Account, call: Call) -> Reply:
    """GET /api/profiles."""
    names = ("filter", "sort", "page[size]", "page[cursor]", "fields[profile]", "additional-fields[profile]", "include")
    known_parameters(call, *names)
    asked = [number_of(one) if one.operator in COMPARISONS else one for one in conditions(call, PROFILE_FILTERS)]
    size = page_size(call, 20, 100)
    extra = [one for one in call.query.get("additional-fields[profile]", "").split(",") if one]
    if set(extra) - {"subscriptions", "predictive_analytics"}:
        raise invalid("Invalid additional field.", parameter="additional-fields[profile]")
    chosen = {
        (one.created // SECOND, one.id): one
        for one in _candidates(account, asked)
        if account.visible(one) and all(_is(account, one, condition) for condition in asked)
    }
    page, before, after = _slice(chosen, cursor_of(call), size)
    data = []
    for profile in page:
        document = profiles.document(account, profile, call.base)
        if "subscriptions" in extra:
            document["attributes"]["subscriptions"] = profiles.subscriptions(profile)
        data.append(sparse(call, "profile", document, PROFILE_FIELDS))
    return Reply(200, {"data": data, "links": links(call, before, after)})


def event_document(account: Account, call: Call, event: Event) -> dict[str, Any]:
    """An event as the API shows it. What nobody can tell any more is left out of its relationships."""
    relationships = {}
    if event.profile is not None:
        relationships["profile"] = {"data": {"type": "profile", "id": event.profile.id}}
    if event.metric is not None:
        relationships["metric"] = {"data": {"type": "metric", "id": event.metric.id}}
    resource = {
        "type": "event",
        "id": event.id,
        "attributes": {
            "timestamp": event.second,
            "event_properties": event.properties,
            "datetime": event.datetime(),
            "uuid": event.uuid,
        },
        "relationships": relationships,
        "links": {"self": f"{call.base}/api/events/{event.id}/"},
    }
    return sparse(call, "event", resource, EVENT_FIELDS)


def _bounds(asked: Iterable[Condition]) -> tuple[int, int]:
    """The seconds between which everything that is asked for lies, so that not all of history is read through."""
    lowest, highest = -(1 << 40), 1 << 40
    for one in asked:
        if one.operator in ("greater-than", "greater-or-equal"):
            lowest = max(lowest, math.floor(one.value))
        elif one.operator in COMPARISONS:
            highest = min(highest, math.ceil(one.value))
    return lowest, highest


def _included(account: Account, call: Call, page: Iterable[Event]) -> dict[str, Any]:
    wanted = [one for one in call.query.get("include", "").split(",") if one]
    for name in wanted:
        if name not in ("profile", "metric", "attributions"):
            raise invalid(f"'{name}' is not a valid relationship for the resource 'event'.", parameter="include")
    if not wanted:
        return {}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for event in page:
        if "profile" in wanted and event.profile is not None and ("profile", event.profile.id) not in found:
            document = profiles.document(account, event.profile, call.base)
            found["profile", event.profile.id] = sparse(call, "profile", document, PROFILE_FIELDS)
        if "metric" in wanted and event.metric is not None and ("metric", event.metric.id) not in found:
            found["metric", event.metric.id] = sparse(call, "metric", _metric(call, event.metric), METRIC_FIELDS)
    return {"included": list(found.values())}


def _metric(call: Call, metric: Metric) -> dict[str, Any]:
    made = f"{iso(metric.created)[:19]}+00:00"
    return {
        "type": "metric",
        "id": metric.id,
        "attributes": {"name": metric.name, "created": made, "updated": made, "integration": metric.integration},
        "links": {"self": f"{call.base}/api/metrics/{metric.id}/"},
    }


def _matches(event: Event, condition: Condition) -> bool:
    if condition.field == "metric_id":
        return event.metric is not None and event.metric.id == condition.value
    if condition.field == "profile_id":
        return event.profile is not None and event.profile.id == condition.value
    if condition.operator == "has":
        return getattr(event, condition.field) is not None
    return holds(condition, event.second)


def _candidates(account: Account, asked: Sequence[Condition]) -> Iterator[Profile]:
    """Who could be meant: by an identifier if one is asked for, so that a large account is not read through."""
    for one in asked:
        if one.operator in ("equals", "any"):
            for value in one.value if isinstance(one.value, list) else [one.value]:
                found = account.people.find(one.field, value)
                if found is not None:
                    yield found
            return
    yield from account.people.all.values()


def _is(account: Account, profile: Profile, condition: Condition) -> bool:
    if condition.operator in COMPARISONS:
        return holds(condition, getattr(profile, condition.field) / SECOND)
    values = condition.value if isinstance(condition.value, list) else [condition.value]
    return any(account.people.find(condition.field, value) is profile for value in values)


def _cut(matching: Iterator[Event], size: int) -> tuple[list[Event], bool]:
    page: list[Event] = []
    for event in matching:
        if len(page) == size:
            return page, True
        page.append(event)
    return page, False


def _ends(places: Sequence[Place], cursor: Cursor | None, more: bool) -> tuple[Place | None, Place | None]:
    """Where the previous and the next page begin; more is said of the direction in which was read."""
    if not places:
        return None, None
    if cursor is None:
        return None, places[-1] if more else None
    if cursor.backwards:
        return places[0] if more else None, places[-1]
    return places[0], places[-1] if more else None


def _slice(things: Mapping[Place, T], cursor: Cursor | None, size: int) -> tuple[list[T], Place | None, Place | None]:
    """One page of what is small enough to be sorted each time."""
    order = sorted(things)
    if cursor is None:
        begin, end = 0, size
    elif cursor.backwards:
        end = bisect_left(order, cursor.place)
        begin = max(0, end - size)
    else:
        begin = bisect_right(order, cursor.place)
        end = begin + size
    places = order[begin:end]
    more = begin > 0 if cursor is not None and cursor.backwards else end < len(order)
    before, after = _ends(places, cursor, more)
    return [things[place] for place in places], before, after
