"""The stand-in read page by page: filters, order, cursors, sparse fieldsets."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import orjson
import pytest

from connector.demo.klaviyo_standin import KlaviyoStandIn
from connector.messages import DAY, MINUTE, SECOND
from tests.klaviyo_calls import NOW, Clock, ask, event, put, refusal

ANN, BOB = "ann@example.com", "bob@example.com"
BASE = NOW // SECOND
EVENTS = "GET /api/events"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def klaviyo(clock: Clock) -> Iterator[KlaviyoStandIn]:
    with KlaviyoStandIn(clock=clock, limits=False) as running:
        yield running


def mails(klaviyo: KlaviyoStandIn, *seconds: int, metric: str = "Opened Email", to: str = ANN) -> list[str]:
    return [klaviyo.mail(to, metric, (BASE + second) * SECOND).id for second in seconds]


def read(klaviyo: KlaviyoStandIn, **query: str) -> dict[str, Any]:
    status, document = ask(klaviyo, EVENTS, query={name.replace("size", "page[size]"): v for name, v in query.items()})
    assert status == 200, document
    found: dict[str, Any] = document
    return found


def ids(document: dict[str, Any]) -> list[str]:
    return [one["id"] for one in document["data"]]


def seconds(document: dict[str, Any]) -> list[int]:
    return [one["attributes"]["timestamp"] - BASE for one in document["data"]]


def metric_id(klaviyo: KlaviyoStandIn, name: str, integration: str = "Klaviyo") -> str:
    _, document = ask(klaviyo, "GET /api/metrics", query={"filter": f'equals(integration.name,"{integration}")'})
    [found] = [one["id"] for one in document["data"] if one["attributes"]["name"] == name]
    return str(found)


# -- events -------------------------------------------------------------------------------------------------------


def test_an_event_is_shown_with_its_profile_and_its_metric(klaviyo: KlaviyoStandIn) -> None:
    ann = put(klaviyo, email=ANN, external_id="u1")
    [event_id] = mails(klaviyo, -60)
    document = read(klaviyo, include="profile,metric", **{"fields[profile]": "email,external_id"})
    opened = metric_id(klaviyo, "Opened Email")
    [data] = document["data"]
    uuid = UUID(data["attributes"].pop("uuid"))
    data["attributes"].pop("event_properties")

    assert data == {
        "type": "event",
        "id": event_id,
        "attributes": {"timestamp": BASE - 60, "datetime": "2026-11-20T09:59:00+00:00"},
        "relationships": {
            "profile": {"data": {"type": "profile", "id": ann}},
            "metric": {"data": {"type": "metric", "id": opened}},
        },
        "links": {"self": f"{klaviyo.url}/api/events/{event_id}/"},
    }
    assert (uuid.version, (uuid.time - 0x01B21DD213814000) / 1e7) == (1, BASE - 60)
    [person, metric] = document["included"]
    assert (person["id"], person["attributes"]) == (ann, {"email": ANN, "external_id": "u1"})
    assert (metric["id"], metric["attributes"]["name"]) == (opened, "Opened Email")
    assert ask(klaviyo, f"GET /api/events/{event_id}")[1]["data"]["relationships"] == data["relationships"]
    assert ask(klaviyo, f"GET /api/events/{event_id}/profile")[1]["data"]["id"] == ann


def test_nothing_is_included_that_was_not_asked_for(klaviyo: KlaviyoStandIn) -> None:
    mails(klaviyo, 0)

    assert set(read(klaviyo)) == {"data", "links"}
    [one] = read(klaviyo, **{"fields[event]": "timestamp"})["data"]
    assert one["attributes"] == {"timestamp": BASE}


def test_events_come_in_the_order_of_second_and_id_both_ways(klaviyo: KlaviyoStandIn) -> None:
    late, *same = mails(klaviyo, 5, 1, 1, 1)
    order = [*sorted(same), late]

    assert ids(read(klaviyo)) == ids(read(klaviyo, sort="timestamp")) == order
    assert ids(read(klaviyo, sort="-datetime")) == order[::-1]


@pytest.mark.parametrize("sort", ["datetime", "-timestamp"])
def test_the_next_link_leads_through_all_pages_and_the_previous_back(klaviyo: KlaviyoStandIn, sort: str) -> None:
    mails(klaviyo, *range(5), 2, 2)
    whole = ids(read(klaviyo, sort=sort))
    pages, url, document = [], f"{klaviyo.url}/api/events?sort={sort}&page[size]=3", {}
    while url:
        document = ask(klaviyo, f"GET {url}")[1]
        pages.append(ids(document))
        url = document["links"]["next"]

    assert pages == [whole[:3], whole[3:6], whole[6:]]
    before = ask(klaviyo, f"GET {document['links']['prev']}")[1]
    assert ids(before) == whole[3:6]
    first = ask(klaviyo, f"GET {before['links']['prev']}")[1]
    assert (ids(first), first["links"]["prev"]) == (whole[:3], None)
    assert ids(ask(klaviyo, f"GET {first['links']['next']}")[1]) == whole[3:6]


def test_the_cursor_is_where_the_page_ended_and_misses_what_comes_in_behind_it(klaviyo: KlaviyoStandIn) -> None:
    _, second, _ = mails(klaviyo, 1, 2, 3)
    document = read(klaviyo, size="2", include="metric")
    url = document["links"]["next"]
    query = parse_qs(urlsplit(url).query)
    [cursor] = query.pop("page[cursor]")

    assert url.startswith(f"{klaviyo.url}/api/events?")
    assert query == {"page[size]": ["2"], "include": ["metric"]}
    assert orjson.loads(base64.b64decode(cursor)) == [BASE + 2, second, True]
    mails(klaviyo, 0, 4)
    assert seconds(ask(klaviyo, f"GET {url}")[1]) == [3, 4]


@pytest.mark.parametrize("cursor", ["", "nonsense", "WzFd", "WzEsMix0cnVlXQ==", "e30="])
def test_a_cursor_of_somebody_else_is_refused(klaviyo: KlaviyoStandIn, cursor: str) -> None:
    assert refusal(ask(klaviyo, EVENTS, query={"page[cursor]": cursor})) == (
        400,
        [("invalid", "page[cursor]", "Invalid cursor provided.")],
    )


def test_events_can_be_in_the_future_and_can_come_in_late(klaviyo: KlaviyoStandIn, clock: Clock) -> None:
    klaviyo.mail(ANN, "Opened Email", NOW + DAY)
    klaviyo.mail(ANN, "Opened Email", NOW - DAY, late_ms=MINUTE)

    assert seconds(read(klaviyo)) == [86_400]
    clock.now += MINUTE
    assert seconds(read(klaviyo)) == [-86_400, 86_400]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("greater-than(datetime,2026-11-20T10:00:01Z)", [2, 3]),
        ("greater-or-equal(datetime,2026-11-20T10:00:01+00:00)", [1, 2, 3]),
        ("greater-than(datetime,2026-11-20T10:00:01.500Z)", [2, 3]),
        ("less-than(datetime,2026-11-20T11:00:01+01:00)", [0]),
        ("less-or-equal(datetime,2026-11-20T10:00:01.999)", [0, 1]),
        (f"greater-than(timestamp,{BASE}),less-than(timestamp,{BASE + 3})", [1, 2]),
        (f"greater-or-equal(timestamp,{BASE + 4})", []),
        (f"less-or-equal(timestamp,{BASE + 0.5}),has(profile)", [0]),
    ],
)
def test_events_are_filtered_by_their_time_both_ways(
    klaviyo: KlaviyoStandIn, condition: str, expected: list[int]
) -> None:
    mails(klaviyo, 0, 1, 2, 3)

    assert seconds(read(klaviyo, filter=condition)) == expected
    assert seconds(read(klaviyo, filter=condition, sort="-datetime")) == expected[::-1]


def test_events_are_filtered_by_metric_and_by_profile(klaviyo: KlaviyoStandIn) -> None:
    mails(klaviyo, 0, 1)
    mails(klaviyo, 2, metric="Clicked Email")
    mails(klaviyo, 3, to=BOB)
    bob = klaviyo.profile("email", BOB)
    assert bob is not None
    opened = f'equals(metric_id,"{metric_id(klaviyo, "Opened Email")}")'

    assert seconds(read(klaviyo, filter=opened)) == [0, 1, 3]
    assert seconds(read(klaviyo, filter=f'{opened},equals(profile_id,"{bob.id}")')) == [3]
    assert seconds(read(klaviyo, filter='equals(metric_id,"ABC123")')) == []
    document = read(klaviyo, filter=opened, size="1")
    assert seconds(ask(klaviyo, f"GET {document['links']['next']}")[1]) == [1]


def test_what_nobody_can_tell_any_more_is_left_out_of_an_event(klaviyo: KlaviyoStandIn) -> None:
    ask(klaviyo, "POST /api/events", event({"email": ANN}, "Old", unique_id="m1"))
    klaviyo.settle()
    klaviyo.account.history.lose_metric("Old")

    [one] = read(klaviyo, include="profile,metric")["data"]
    assert set(one["relationships"]) == {"profile"}
    assert read(klaviyo, filter="has(metric)")["data"] == []
    assert ids(read(klaviyo, filter="has(profile)")) == [one["id"]]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"filter": 'equals(email,"a")'}, "filter"),
        ({"filter": "greater-than(metric_id,1)"}, "filter"),
        ({"filter": 'equals(metric_id,"a"'}, "filter"),
        ({"filter": 'equals(metric_id,"a")equals(metric_id,"b")'}, "filter"),
        ({"filter": 'equals(metric_id,["a"])'}, "filter"),
        ({"filter": "equals(metric_id)"}, "filter"),
        ({"filter": "has(profile,1)"}, "filter"),
        ({"filter": "greater-than(datetime,yesterday)"}, "filter"),
        ({"filter": "greater-than(timestamp,2026-11-20)"}, "filter"),
        ({"filter": "nonsense"}, "filter"),
        ({"filter": "equals(metric_id,)"}, "filter"),
        ({"filter": "has(profile)xhas(metric)"}, "filter"),
        ({"sort": "id"}, "sort"),
        ({"page[size]": "0"}, "page[size]"),
        ({"page[size]": "1001"}, "page[size]"),
        ({"page[size]": "ten"}, "page[size]"),
        ({"include": "person"}, "include"),
        ({"fields[event]": "time"}, "fields[event]"),
        ({"limit": "3"}, "limit"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(klaviyo: KlaviyoStandIn, query: dict[str, str], parameter: str) -> None:
    mails(klaviyo, 0)
    status, [(code, where, _)] = refusal(ask(klaviyo, EVENTS, query=query))

    assert (status, code, where) == (400, "invalid", parameter)
    assert ask(klaviyo, EVENTS, query={"page[size]": "1000"})[0] == 200


def test_events_come_two_hundred_a_page_unless_told_otherwise(klaviyo: KlaviyoStandIn) -> None:
    mails(klaviyo, *range(201))

    assert len(read(klaviyo)["data"]) == 200
    assert len(read(klaviyo, size="201")["data"]) == 201
