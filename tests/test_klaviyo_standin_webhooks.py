"""The stand-in's webhooks: who may have one, what is delivered, and what happens when nobody takes it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from connector.demo.klaviyo_standin import KlaviyoStandIn
from connector.demo.loopback import Answer, Asked, LoopbackServer
from connector.messages import HOUR, MINUTE, SECOND
from tests.klaviyo_calls import NOW, Clock, ask, event, refusal

ANN = "ann@example.com"
SECRET = "0123456789abcdef"
OPENED = "event:klaviyo.opened_email"


class Receiver:
    """Where webhooks arrive; answers with ``status``."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[Asked] = []
        self.server = LoopbackServer(self._take)

    def _take(self, asked: Asked) -> Answer:
        self.got.append(asked)
        return Answer(self.status)

    def documents(self) -> list[Any]:
        return [orjson.loads(one.body) for one in self.got]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def klaviyo(clock: Clock) -> Iterator[KlaviyoStandIn]:
    with KlaviyoStandIn(clock=clock, limits=False, advanced=True) as running:
        yield running


@pytest.fixture
def receiver(klaviyo: KlaviyoStandIn) -> Iterator[Receiver]:
    made = Receiver()
    made.server.start()
    klaviyo.reach = made.server.url
    yield made
    made.server.stop()


def webhook(*topics: str, **attributes: Any) -> dict[str, Any]:
    given = {"name": "ours", "endpoint_url": "https://shop.example/hook/klaviyo", "secret_key": SECRET, **attributes}
    named = [{"type": "webhook-topic", "id": one} for one in topics]
    return {"data": {"type": "webhook", "attributes": given, "relationships": {"webhook-topics": {"data": named}}}}


def subscribe(klaviyo: KlaviyoStandIn, *topics: str) -> str:
    status, document = ask(klaviyo, "POST /api/webhooks", webhook(*topics or (OPENED,)))
    assert status == 201, document
    return str(document["data"]["id"])


def enable(klaviyo: KlaviyoStandIn, webhook_id: str, **attributes: Any) -> tuple[int, Any]:
    data = {"type": "webhook", "id": webhook_id, "attributes": {"enabled": True, **attributes}}
    return ask(klaviyo, f"PATCH /api/webhooks/{webhook_id}", {"data": data})


def test_a_webhook_is_shown_with_its_url_masked_and_never_its_secret(klaviyo: KlaviyoStandIn) -> None:
    webhook_id = subscribe(klaviyo)
    expected = {
        "type": "webhook",
        "id": webhook_id,
        "attributes": {
            "name": "ours",
            "description": None,
            "endpoint_url": "https://shop.example/*****",
            "enabled": True,
            "created_at": "2026-11-20T10:00:00+00:00",
            "updated_at": "2026-11-20T10:00:00+00:00",
        },
        "relationships": {"webhook-topics": {"data": [{"type": "webhook-topic", "id": OPENED}]}},
        "links": {"self": f"{klaviyo.url}/api/webhooks/{webhook_id}/"},
    }

    assert ask(klaviyo, "GET /api/webhooks")[1]["data"] == [expected]
    assert ask(klaviyo, f"GET /api/webhooks/{webhook_id}")[1]["data"] == expected
    assert ask(klaviyo, f"DELETE /api/webhooks/{webhook_id}") == (204, None)
    assert ask(klaviyo, "GET /api/webhooks")[1]["data"] == []
    assert ask(klaviyo, f"DELETE /api/webhooks/{webhook_id}")[0] == 404


def test_a_webhook_has_an_https_url_a_long_secret_and_topics_of_the_account(klaviyo: KlaviyoStandIn) -> None:
    for document, pointer in (
        (webhook(OPENED, endpoint_url="http://shop.example"), "/data/attributes/endpoint_url"),
        (webhook(OPENED, secret_key="x" * 15), "/data/attributes/secret_key"),
        (webhook(OPENED, enabled=True), "/data/attributes/enabled"),
        (webhook(), "/data/relationships/webhook-topics/data"),
        (webhook(OPENED, "event:api.viewed_product"), "/data/relationships/webhook-topics/data/1/id"),
    ):
        status, [(code, where, _)] = refusal(ask(klaviyo, "POST /api/webhooks", document))
        assert (status, code, where) == (400, "invalid", pointer)
    ask(klaviyo, "POST /api/events", event({"email": ANN}))
    subscribe(klaviyo, "event:api.viewed_product")
    topics = [one["id"] for one in ask(klaviyo, "GET /api/webhook-topics")[1]["data"]]
    assert {OPENED, "event:klaviyo.clicked_email_to_unsubscribe", "event:api.viewed_product"} < set(topics)


def test_a_delivery_is_signed_and_has_the_event_as_the_api_has_it_but_for_a_space(
    klaviyo: KlaviyoStandIn, receiver: Receiver
) -> None:
    webhook_id = subscribe(klaviyo)
    opened = klaviyo.mail(ANN, "Opened Email", NOW - MINUTE)
    klaviyo.mail(ANN, "Clicked Email", NOW)  # nobody has asked for that
    assert klaviyo.deliver() == [200]

    [asked], [document] = receiver.got, receiver.documents()
    stamp = asked.headers["klaviyo-timestamp"]
    assert (asked.path, stamp) == ("/hook/klaviyo", "Fri, 20 Nov 2026 10:00:00 GMT")
    assert asked.headers["klaviyo-webhook-id"] == document["meta"]["klaviyo_webhook_id"] == webhook_id
    signature = hmac.new(SECRET.encode(), asked.body + stamp.encode(), hashlib.sha256).hexdigest()
    assert asked.headers["klaviyo-signature"] == signature
    shown = ask(klaviyo, f"GET /api/events/{opened.id}")[1]["data"]
    del shown["links"]
    shown["attributes"]["datetime"] = "2026-11-20 09:59:00+00:00"
    assert document["data"] == [{"external_id": opened.id, "topic": OPENED, "payload": {"data": shown}}]
    assert klaviyo.deliver() == []


def test_the_clock_of_the_header_can_be_wrong(klaviyo: KlaviyoStandIn, receiver: Receiver) -> None:
    subscribe(klaviyo)
    klaviyo.header_off_by_ms = 5 * HOUR
    klaviyo.mail(ANN, "Opened Email", NOW)
    klaviyo.deliver()

    assert receiver.got[0].headers["klaviyo-timestamp"] == "Fri, 20 Nov 2026 15:00:00 GMT"
    assert receiver.documents()[0]["meta"]["timestamp"] == "2026-11-20T10:00:00.500000+00:00"


def test_a_thousand_events_go_into_one_delivery(klaviyo: KlaviyoStandIn, receiver: Receiver) -> None:
    subscribe(klaviyo)
    for _ in range(1_001):
        klaviyo.mail(ANN, "Opened Email", NOW)

    assert klaviyo.deliver() == [200, 200]
    assert [len(one["data"]) for one in receiver.documents()] == [1_000, 1]


def test_what_was_not_taken_is_sent_again_and_after_48_hours_the_webhook_is_disabled(
    klaviyo: KlaviyoStandIn, receiver: Receiver, clock: Clock
) -> None:
    webhook_id = subscribe(klaviyo)
    first = klaviyo.mail(ANN, "Opened Email", NOW)
    receiver.status = 500
    assert klaviyo.deliver() == [500]
    clock.now += 48 * HOUR
    assert klaviyo.deliver() == [500]
    assert [one["data"][0]["external_id"] for one in receiver.documents()] == [first.id] * 2
    clock.now += SECOND
    assert klaviyo.deliver() == [500]

    klaviyo.mail(ANN, "Opened Email", clock.now)
    receiver.status = 200
    assert (klaviyo.deliver(), ask(klaviyo, f"GET /api/webhooks/{webhook_id}")[1]["data"]["attributes"]["enabled"]) == (
        [],
        False,
    )
    assert enable(klaviyo, webhook_id)[1]["data"]["attributes"]["enabled"] is True
    assert klaviyo.deliver() == []  # nothing is replayed
    again = klaviyo.mail(ANN, "Opened Email", clock.now)
    assert klaviyo.deliver() == [200]
    assert [one["external_id"] for one in receiver.documents()[-1]["data"]] == [again.id]


def test_a_webhook_that_is_enabled_again_has_48_hours_again(
    klaviyo: KlaviyoStandIn, receiver: Receiver, clock: Clock
) -> None:
    webhook_id = subscribe(klaviyo)
    receiver.status = 500
    for _ in range(2):
        klaviyo.mail(ANN, "Opened Email", NOW)
        klaviyo.deliver()
        clock.now += 49 * HOUR
    enable(klaviyo, webhook_id)
    klaviyo.mail(ANN, "Opened Email", NOW)

    assert klaviyo.deliver() == [500]
    assert klaviyo.account.webhooks[webhook_id].enabled


def test_a_delivery_that_succeeds_begins_the_48_hours_anew(
    klaviyo: KlaviyoStandIn, receiver: Receiver, clock: Clock
) -> None:
    webhook_id = subscribe(klaviyo)
    for _ in range(2):
        klaviyo.mail(ANN, "Opened Email", NOW)
        receiver.status = 503
        klaviyo.deliver()
        clock.now += 40 * HOUR
        receiver.status = 202
        assert klaviyo.deliver() == [202]

    assert klaviyo.account.webhooks[webhook_id].enabled


def test_a_receiver_that_is_not_there_is_no_answer(klaviyo: KlaviyoStandIn, receiver: Receiver) -> None:
    subscribe(klaviyo)
    klaviyo.mail(ANN, "Opened Email", NOW)
    receiver.server.stop()

    assert klaviyo.deliver() == [0]
    receiver.server = LoopbackServer(receiver._take)
    receiver.server.start()
    klaviyo.reach = receiver.server.url
    assert klaviyo.deliver() == [200]


def test_a_webhook_is_changed_by_patch_only_where_ids_agree(klaviyo: KlaviyoStandIn) -> None:
    webhook_id = subscribe(klaviyo)

    changed = enable(klaviyo, webhook_id, name="theirs", enabled=False)[1]["data"]["attributes"]
    assert (changed["name"], changed["enabled"]) == ("theirs", False)
    relationships = webhook("event:klaviyo.clicked_email")["data"]["relationships"]
    data = {"type": "webhook", "id": webhook_id, "attributes": {}, "relationships": relationships}
    changed = ask(klaviyo, f"PATCH /api/webhooks/{webhook_id}", {"data": data})[1]["data"]
    assert (changed["relationships"], changed["attributes"]["enabled"]) == (relationships, False)
    status, [(_, pointer, _)] = refusal(
        ask(
            klaviyo,
            f"PATCH /api/webhooks/{webhook_id}",
            {"data": {"type": "webhook", "id": "other", "attributes": {}}},
        )
    )
    assert (status, pointer) == (400, "/data/id")
