"""The stand-in as an email platform: its mails, its links, its settings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from connector.demo.klaviyo_standin import KlaviyoStandIn
from connector.messages import SECOND
from tests.klaviyo_calls import NOW, Clock, ask, put, refusal

ANN = "ann@example.com"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def klaviyo(clock: Clock) -> Iterator[KlaviyoStandIn]:
    with KlaviyoStandIn(clock=clock, limits=False, advanced=True) as running:
        yield running


# -- mails and links ----------------------------------------------------------------------------------------------


def test_a_mail_has_the_properties_of_every_mail_and_its_own(klaviyo: KlaviyoStandIn) -> None:
    ann = put(klaviyo, email=ANN)
    opened = klaviyo.mail(ann, "Opened Email", NOW, {"machine_open": True, "Subject": "Hello"})
    message = "01" + hashlib.sha256(b"DeMo01").hexdigest()[:24].upper()

    assert opened.properties == {
        "Subject": "Hello",
        "Campaign Name": "Autumn",
        "$message": message,
        "$_cohort$message_send_cohort": f"{NOW // SECOND}:{message}",
        "$ESP": 0,
        "$event_id": f"{message}:0:{NOW // SECOND}",
        "Recipient Email Address": ANN,
        "Email Domain": "example.com",
        "machine_open": True,
    }
    assert (opened.profile and opened.profile.id, opened.metric and opened.metric.integration["name"]) == (
        *(ann,),
        "Klaviyo",
    )


def test_a_mail_goes_to_the_address_it_was_sent_to_even_if_that_is_the_second_one() -> None:
    with KlaviyoStandIn(clock=Clock(), multi_email=True) as klaviyo:
        put(klaviyo, external_id="u1", email=ANN)
        put(klaviyo, external_id="u1", email="new@example.com")
        opened = klaviyo.mail(ANN, "Opened Email", NOW)

        assert opened.profile is klaviyo.profile("external_id", "u1")
        assert opened.profile is not None
        again = klaviyo.mail(opened.profile, "Opened Email", NOW)
        assert (again.profile, again.properties["Recipient Email Address"]) == (opened.profile, "new@example.com")
        assert opened.properties["Recipient Email Address"] == ANN
        assert opened.profile.email == "new@example.com"


def test_a_mail_to_a_stranger_makes_a_profile_and_two_in_a_second_are_two(klaviyo: KlaviyoStandIn) -> None:
    first, second = (klaviyo.mail("new@example.com", "Opened Email", NOW) for _ in range(2))

    assert (first.profile, first.id == second.id) == (klaviyo.profile("email", "new@example.com"), False)
    assert len(ask(klaviyo, "GET /api/events")[1]["data"]) == 2


def test_a_link_carries_a_token_that_is_new_each_time_and_leads_to_the_profile(klaviyo: KlaviyoStandIn) -> None:
    ann = put(klaviyo, email=ANN)
    links = [klaviyo.link(ann, "https://shop.example/sale?size=4&q=#top") for _ in range(2)]
    tokens = [parse_qs(urlsplit(one).query)["_kx"][0] for one in links]

    assert [urlsplit(one).query.partition("&_kx=")[0] for one in links] == ["size=4&q="] * 2
    assert [one.count("%3D%3D") for one in links] == [1, 1]
    assert (len(set(tokens)), {one.rpartition(".")[2] for one in tokens}) == (2, {"DeMo01"})
    for token in tokens:
        asked = {"filter": f'equals(_kx,"{token}")'}
        assert [one["id"] for one in ask(klaviyo, "GET /api/profiles", query=asked)[1]["data"]] == [ann]
    klaviyo.email_to_website = False
    assert klaviyo.link(ann, "https://shop.example/") == "https://shop.example/"


def test_a_token_outlives_the_merge_of_its_profile(klaviyo: KlaviyoStandIn) -> None:
    ann = put(klaviyo, email=ANN)
    token = klaviyo.token(ann)
    user = put(klaviyo, external_id="u1")
    put(klaviyo, external_id="u1", email=ANN)

    asked = {"filter": f'equals(_kx,"{token}")'}
    assert [one["id"] for one in ask(klaviyo, "GET /api/profiles", query=asked)[1]["data"]] == [user]


# -- tracking settings --------------------------------------------------------------------------------------------


def tracking(klaviyo: KlaviyoStandIn, account: str = "DeMo01", **attributes: Any) -> tuple[int, Any]:
    data = {"type": "tracking-setting", "id": account, "attributes": attributes}
    return ask(klaviyo, f"PATCH /api/tracking-settings/{account}", {"data": data})


def dynamic(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "flow": None, "campaign": {"type": "dynamic", "value": value}}


def test_tracking_parameters_are_set_by_the_api_and_stand_in_links(klaviyo: KlaviyoStandIn) -> None:
    klaviyo.email_to_website = False
    ann, url = put(klaviyo, email=ANN), "https://shop.example/"
    custom = [dynamic("kl_pid", "profile_id"), dynamic("kl_uid", "profile_external_id")]

    status, document = tracking(klaviyo, custom_parameters=custom)
    assert (status, document["data"]["attributes"]["custom_parameters"]) == (200, custom)
    assert klaviyo.link(ann, url) == url  # they are not added before that is switched on as well
    tracking(klaviyo, auto_add_parameters=True)
    assert klaviyo.link(ann, url) == f"{url}?kl_pid={ann}"
    put(klaviyo, email=ANN, external_id="u1")
    assert klaviyo.link(ann, url) == f"{url}?kl_pid={ann}&kl_uid=u1"
    assert klaviyo.link(ann, url, source="flow") == url
    static = {"name": "from", "flow": {"type": "static", "value": "profile_id"}}
    tracking(klaviyo, custom_parameters=[static])
    assert klaviyo.link(ann, url, source="flow") == f"{url}?from=profile_id"
    tracking(klaviyo, custom_parameters=custom)
    settings = ask(klaviyo, "GET /api/tracking-settings/DeMo01")[1]["data"]
    assert (settings["id"], settings["attributes"]) == (
        "DeMo01",
        {**document["data"]["attributes"], "auto_add_parameters": True},
    )
    assert ask(klaviyo, "GET /api/tracking-settings")[1]["data"] == [settings]


@pytest.mark.parametrize(
    ("parameter", "place", "detail"),
    [
        (dynamic("kl_pid", "email"), "campaign/value", "'email' is not a valid dynamic value."),
        (dynamic("kl_pid", "flow_id"), "campaign/value", "'flow_id' is not a valid dynamic value."),
        (dynamic("kl pid", "profile_id"), "name", "Not a valid name of a parameter."),
        ({"name": "a", "flow": {"type": "magic", "value": "a"}}, "flow/type", "The type is dynamic or static."),
    ],
)
def test_a_tracking_parameter_has_a_name_and_a_value_klaviyo_knows(
    klaviyo: KlaviyoStandIn, parameter: Any, place: str, detail: str
) -> None:
    pointer = f"/data/attributes/custom_parameters/0/{place}"

    assert refusal(tracking(klaviyo, custom_parameters=[parameter])) == (400, [("invalid", pointer, detail)])
    assert tracking(klaviyo, "Other1")[0] == 404
    data = {"type": "tracking-setting", "id": "Other1", "attributes": {}}
    answer = ask(klaviyo, "PATCH /api/tracking-settings/DeMo01", {"data": data})
    assert refusal(answer) == (400, [("invalid", "/data/id", "The id of the body is not the one of the path.")])


def test_the_account_is_the_one_of_the_key(klaviyo: KlaviyoStandIn) -> None:
    [account] = ask(klaviyo, "GET /api/accounts")[1]["data"]

    assert (account["id"], account["attributes"]["public_api_key"]) == ("DeMo01", "DeMo01")
