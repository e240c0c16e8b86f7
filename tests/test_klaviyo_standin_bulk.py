"""The stand-in's events a thousand at a time: all of them are taken, or none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from connector.demo.klaviyo_standin import KlaviyoStandIn
from connector.messages import DAY
from tests.klaviyo_calls import NOW, Clock, ask, attributes, bulk, event, put, refusal

ANN, BOB = "ann@example.com", "bob@example.com"
MANY = "POST /api/event-bulk-create-jobs"
ITEMS = "/data/attributes/events-bulk-create/data"


@pytest.fixture
def klaviyo() -> Iterator[KlaviyoStandIn]:
    with KlaviyoStandIn(clock=Clock(), limits=False) as running:
        yield running


def mistake(answer: tuple[int, Any]) -> tuple[str | None, str]:
    """The one mistake of a 400: where and what."""
    status, [(code, pointer, detail)] = refusal(answer)
    assert (status, code) == (400, "invalid")
    return pointer, detail


def test_many_events_are_taken_in_one_request_whosever_they_are(klaviyo: KlaviyoStandIn) -> None:
    document = bulk(
        ({"email": ANN}, [attributes("A", unique_id="1"), attributes("A", unique_id="2", backfill=False)]),
        ({"email": BOB}, [attributes("B", unique_id="1")]),
        backfill=True,
    )

    assert ask(klaviyo, MANY, document) == (202, None)
    kept = [(one.profile and one.profile.email, one.unique_id, one.backfill) for one in klaviyo.events]
    assert kept == [(ANN, "1", True), (ANN, "2", False), (BOB, "1", True)]


def test_an_item_whose_token_leads_nowhere_is_dropped_and_the_others_are_kept(klaviyo: KlaviyoStandIn) -> None:
    document = bulk(({"_kx": "made-up"}, [attributes()]), ({"email": BOB}, [attributes()]))

    assert ask(klaviyo, MANY, document) == (202, None)
    assert [one.profile and one.profile.email for one in klaviyo.events] == [BOB]
    assert [one.reason for one in klaviyo.silent] == ["an unknown _kx"]


def test_one_bad_event_loses_all_of_them_and_every_bad_one_is_pointed_at(klaviyo: KlaviyoStandIn) -> None:
    document = bulk(
        ({"email": ANN}, [attributes(unique_id="1"), attributes(unique_id="2", time="never")]),
        ({"first_name": "Bob"}, [attributes(unique_id="3")]),
        ({"email": BOB}, [attributes(unique_id="4")]),
    )
    status, mistakes = refusal(ask(klaviyo, MANY, document))

    assert (status, [pointer for _, pointer, _ in mistakes], klaviyo.events) == (
        400,
        [
            f"{ITEMS}/0/attributes/events/data/1/attributes/time",
            f"{ITEMS}/1/attributes/profile/data/attributes",
        ],
        [],
    )
    document = bulk(({"email": ANN}, [attributes()]), ({"email": "bob"}, [attributes(), attributes(at=1)]))
    status, mistakes = refusal(ask(klaviyo, MANY, document))
    assert [pointer for _, pointer, _ in mistakes] == [
        f"{ITEMS}/1/attributes/profile/data/attributes/email",
        f"{ITEMS}/1/attributes/events/data/1/attributes/at",
    ]
    assert klaviyo.profiles == []


def test_a_thousand_events_are_taken_and_one_more_is_not(klaviyo: KlaviyoStandIn) -> None:
    def numbered(count: int) -> list[Any]:
        return [attributes(unique_id=str(n)) for n in range(count)]

    assert mistake(ask(klaviyo, MANY, bulk(({"email": ANN}, numbered(600)), ({"email": BOB}, numbered(401))))) == (
        ITEMS,
        "At most 1000 events are taken in one request.",
    )
    assert klaviyo.events == []
    assert ask(klaviyo, MANY, bulk(({"email": ANN}, numbered(600)), ({"email": BOB}, numbered(400)))) == (202, None)
    assert len(klaviyo.events) == 1_000
    too_many = bulk(*(({"email": ANN}, [one]) for one in numbered(1_001)))
    assert mistake(ask(klaviyo, MANY, too_many)) == (ITEMS, "Longer than maximum length 1000.")


def test_a_unique_id_repeated_in_one_request_fails_all_of_it(klaviyo: KlaviyoStandIn) -> None:
    put(klaviyo, external_id="u1", email=ANN)
    detail = "This unique_id is repeated for the same profile and metric within the request."
    fine = ({"email": BOB}, [attributes("A", unique_id="1"), attributes("B", unique_id="1"), attributes("A")])

    for who in ({"email": ANN}, {"external_id": "u1"}):  # one profile under two names
        repeated = ({"email": ANN}, [attributes("A", unique_id="1")]), (who, [attributes("A", unique_id="1")])
        assert mistake(ask(klaviyo, MANY, bulk(fine, *repeated))) == (
            f"{ITEMS}/2/attributes/events/data/0/attributes/unique_id",
            detail,
        )
    assert klaviyo.events == []
    assert ask(klaviyo, MANY, bulk(fine, (*fine[:1], [attributes("A")]))) == (202, None)
    assert len(klaviyo.events) == 3


def test_the_key_of_the_items_is_written_with_hyphens(klaviyo: KlaviyoStandIn) -> None:
    document = bulk(({"email": ANN}, [attributes()]))
    given = document["data"]["attributes"]
    given["events_bulk_create"] = given.pop("events-bulk-create")

    status, mistakes = refusal(ask(klaviyo, MANY, document))
    assert (status, [pointer for _, pointer, _ in mistakes]) == (
        400,
        ["/data/attributes/events_bulk_create", "/data/attributes"],
    )


def test_a_request_with_events_is_at_most_five_megabytes(klaviyo: KlaviyoStandIn) -> None:
    def sized(size: int) -> dict[str, Any]:
        made = attributes(properties={str(n): "x" * 100_000 for n in range(52)})
        document = bulk(({"email": ANN}, [made]))
        frame = len(orjson.dumps(document))
        made["properties"]["last"] = "x" * (size - frame - len(',"last":""'))
        return document

    assert ask(klaviyo, MANY, sized(5 * 1024 * 1024)) == (202, None)
    status, [(code, _, _)] = refusal(ask(klaviyo, MANY, sized(5 * 1024 * 1024 + 1)))
    assert (status, code, len(klaviyo.events)) == (413, "payload_too_large", 1)


def test_a_metric_is_made_on_first_use_and_again_under_another_integration(klaviyo: KlaviyoStandIn) -> None:
    for name in ("Opened Email", "Opened Email", "opened email"):
        ask(klaviyo, "POST /api/events", event({"email": ANN}, name))
    klaviyo.mail(ANN, "Opened Email", NOW - DAY)

    named = [(one["attributes"]["name"], one["attributes"]["integration"]["name"]) for one in all_metrics(klaviyo)]
    assert named == [("Opened Email", "API"), ("opened email", "API"), ("Opened Email", "Klaviyo")]


def all_metrics(klaviyo: KlaviyoStandIn) -> list[Any]:
    found: list[Any] = ask(klaviyo, "GET /api/metrics")[1]["data"]
    order = list(klaviyo.account.history.metrics)
    return sorted(found, key=lambda one: order.index(one["id"]))
