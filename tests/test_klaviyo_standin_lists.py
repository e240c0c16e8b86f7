"""The stand-in's metrics and profiles, listed page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connector.demo.klaviyo_standin import KlaviyoStandIn
from connector.messages import SECOND
from tests.klaviyo_calls import NOW, Clock, ask, event, profile, put, refusal

ANN, BOB = "ann@example.com", "bob@example.com"
BASE = NOW // SECOND


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def klaviyo(clock: Clock) -> Iterator[KlaviyoStandIn]:
    with KlaviyoStandIn(clock=clock, limits=False) as running:
        yield running


def mails(klaviyo: KlaviyoStandIn, *seconds: int, metric: str = "Opened Email", to: str = ANN) -> list[str]:
    return [klaviyo.mail(to, metric, (BASE + second) * SECOND).id for second in seconds]


def ids(document: dict[str, Any]) -> list[str]:
    return [one["id"] for one in document["data"]]


def metric_id(klaviyo: KlaviyoStandIn, name: str, integration: str = "Klaviyo") -> str:
    _, document = ask(klaviyo, "GET /api/metrics", query={"filter": f'equals(integration.name,"{integration}")'})
    [found] = [one["id"] for one in document["data"] if one["attributes"]["name"] == name]
    return str(found)


# -- metrics ------------------------------------------------------------------------------------------------------


def test_metrics_are_found_by_their_integration_and_never_by_its_category(klaviyo: KlaviyoStandIn) -> None:
    mails(klaviyo, 0)
    ask(klaviyo, "POST /api/events", event({"email": ANN}, "Opened Email"))

    def named(condition: str) -> list[dict[str, Any]]:
        return [one["attributes"] for one in ask(klaviyo, "GET /api/metrics", query={"filter": condition})[1]["data"]]

    made = {"created": "2026-11-20T10:00:00+00:00", "updated": "2026-11-20T10:00:00+00:00"}
    internal = {"object": "integration", "id": "0eMvjm", "name": "Klaviyo", "category": "Internal"}
    ours = {"object": "integration", "id": "4qYGmQ", "key": "api", "name": "API", "category": "API"}
    assert named('equals(integration.name,"Klaviyo")') == [{"name": "Opened Email", **made, "integration": internal}]
    assert named('equals(integration.name,"API")') == [{"name": "Opened Email", **made, "integration": ours}]
    assert named('equals(integration.category,"Internal")') == []
    assert metric_id(klaviyo, "Opened Email") != metric_id(klaviyo, "Opened Email", "API")


def test_metrics_have_no_page_size_and_come_two_hundred_a_page(klaviyo: KlaviyoStandIn) -> None:
    for number in range(203):
        klaviyo.account.history.metric(str(number), "api", NOW)
    assert refusal(ask(klaviyo, "GET /api/metrics", query={"page[size]": "10"}))[1][0][1] == "page[size]"
    _, first = ask(klaviyo, "GET /api/metrics")
    _, second = ask(klaviyo, f"GET {first['links']['next']}")

    assert (len(first["data"]), len(second["data"]), second["links"]["next"]) == (200, 3, None)
    assert len({*ids(first), *ids(second)}) == 203


def test_a_parameter_is_given_once(klaviyo: KlaviyoStandIn) -> None:
    answer = ask(klaviyo, "GET /api/profiles?page[size]=1&page[size]=2")

    assert refusal(answer) == (400, [("invalid", "page[size]", "'page[size]' is given more than once.")])


# -- profiles -----------------------------------------------------------------------------------------------------


def test_profiles_are_found_by_each_identifier(klaviyo: KlaviyoStandIn) -> None:
    ann = put(klaviyo, email=ANN, external_id='u "1", x', phone_number="+15005550006")
    bob = put(klaviyo, email=BOB)
    token = klaviyo.token(ann)

    def found(condition: str) -> list[str]:
        return ids(ask(klaviyo, "GET /api/profiles", query={"filter": condition})[1])

    for condition in (
        *(f'equals(id,"{ann}")', f'equals(email,"{ANN}")', 'equals(phone_number,"+15005550006")'),
        *(f'equals(_kx,"{token}")', 'equals(external_id,"u \\"1\\", x")'),
        f'any(email,["{ANN}","{BOB}"]),equals(id,"{ann}")',
    ):
        assert found(condition) == [ann]
    assert sorted(found(f'any(id,["{ann}","{bob}","nobody"])')) == sorted([ann, bob])
    assert (found('equals(_kx,"made-up")'), found('equals(email,"nobody@x.co")')) == ([], [])
    for condition in ('equals(anonymous_id,"a1")', 'any(email,["a";"b"])', 'any(email,"a")', 'equals(email,"a)'):
        answer = ask(klaviyo, "GET /api/profiles", query={"filter": condition})
        assert refusal(answer)[1][0][:2] == ("invalid", "filter")


def test_profiles_come_twenty_a_page_and_at_most_a_hundred(klaviyo: KlaviyoStandIn, clock: Clock) -> None:
    made = []
    for number in range(21):
        made.append(put(klaviyo, email=f"{number}@x.co"))
        clock.now += SECOND
    _, first = ask(klaviyo, "GET /api/profiles")
    _, second = ask(klaviyo, f"GET {first['links']['next']}")

    assert (ids(first), ids(second), second["links"]["next"]) == (made[:20], made[20:], None)
    assert ids(ask(klaviyo, f"GET {second['links']['prev']}")[1]) == made[:20]
    assert ids(ask(klaviyo, "GET /api/profiles", query={"page[size]": "100"})[1]) == made
    assert ask(klaviyo, "GET /api/profiles", query={"page[size]": "101"})[0] == 400
    later = "greater-than(created,2026-11-20T10:00:18Z),less-than(updated,2026-11-20T10:00:20Z)"
    assert ids(ask(klaviyo, "GET /api/profiles", query={"filter": later})[1]) == made[18:20]


def test_subscriptions_are_shown_when_asked_for(klaviyo: KlaviyoStandIn) -> None:
    put(klaviyo, email=ANN)
    query = {"additional-fields[profile]": "subscriptions", "fields[profile]": "email,subscriptions"}
    [one] = ask(klaviyo, "GET /api/profiles", query=query)[1]["data"]

    consent = {"can_receive_email_marketing": False, "consent": "NEVER_SUBSCRIBED", "suppression": []}
    assert one["attributes"] == {"email": ANN, "subscriptions": {"email": {"marketing": consent}}}
    assert "subscriptions" not in ask(klaviyo, "GET /api/profiles")[1]["data"][0]["attributes"]


def test_the_last_event_is_dated_on_its_profile(klaviyo: KlaviyoStandIn) -> None:
    mails(klaviyo, 0, -1)
    [one] = ask(klaviyo, "GET /api/profiles")[1]["data"]

    assert one["attributes"]["last_event_date"] == "2026-11-20T10:00:00+00:00"
    assert (
        ask(klaviyo, "POST /api/profile-import", profile({"email": ANN}))[1]["data"]["attributes"] == one["attributes"]
    )
