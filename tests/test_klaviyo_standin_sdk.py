"""Klaviyo's own library against the stand-in: what it sends is taken, what comes back it can read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from klaviyo_api import KlaviyoAPI  # type: ignore[import-untyped] # carries no types
from openapi_client.exceptions import ApiException

from connector.demo.klaviyo_standin import KEY, KlaviyoStandIn
from connector.messages import SECOND
from tests.klaviyo_calls import NOW, Clock, attributes, bulk, event, profile, put

ANN = "ann@example.com"
OPENED = "event:klaviyo.opened_email"


@pytest.fixture
def klaviyo() -> Iterator[KlaviyoStandIn]:
    with KlaviyoStandIn(clock=Clock(), limits=False, advanced=True) as running:
        yield running


@pytest.fixture
def library(klaviyo: KlaviyoStandIn) -> Any:
    return KlaviyoAPI(KEY, max_retries=0, test_host=klaviyo.url)


def cursor(page: Any) -> str:
    """Of the next page. The library reads it out of an https link only."""
    link: str = page.links.next
    return parse_qs(urlsplit(link).query)["page[cursor]"][0]


def test_its_revision_is_the_one_these_tests_speak(klaviyo: KlaviyoStandIn, library: Any) -> None:
    library.Metrics.get_metrics()

    assert klaviyo.requests[0].headers["revision"] == "2026-10-15"


def test_profiles_are_imported_created_changed_and_read(klaviyo: KlaviyoStandIn, library: Any) -> None:
    given = {"email": ANN, "location": {"city": "Ulm"}, "properties": {"plan": "pro"}}
    made = library.Profiles.create_or_update_profile(profile(given)).data
    assert (made.attributes.email, made.attributes.location.city, made.attributes.properties) == (
        *(ANN, "Ulm"),
        {"plan": "pro"},
    )
    changed = library.Profiles.update_profile(made.id, profile({"external_id": "u1"}, id=made.id)).data
    assert (changed.id, changed.attributes.external_id, changed.attributes.email) == (made.id, "u1", ANN)
    other = library.Profiles.create_profile(profile({"phone_number": "+15005550006"})).data
    found = library.Profiles.get_profiles(filter='equals(external_id,"u1")', page_size=1).data
    assert [one.id for one in found] == [made.id]
    assert library.Profiles.get_profile(other.id).data.attributes.phone_number == "+15005550006"
    token = klaviyo.token(made.id)
    assert library.Profiles.get_profiles(filter=f'equals(_kx,"{token}")').data[0].id == made.id


def test_all_profiles_are_read_page_by_page(klaviyo: KlaviyoStandIn, library: Any) -> None:
    made = {put(klaviyo, email=f"{number}@x.co") for number in range(5)}
    page = library.Profiles.get_profiles(page_size=2)
    found = [one.id for one in page.data]
    while page.links.next is not None:
        page = library.Profiles.get_profiles(page_size=2, page_cursor=cursor(page))
        found += [one.id for one in page.data]

    assert (len(found), set(found)) == (5, made)


def test_profiles_are_merged_and_deleted(klaviyo: KlaviyoStandIn, library: Any) -> None:
    into, source = put(klaviyo, external_id="u1"), put(klaviyo, email=ANN)
    relation = {"profiles": {"data": [{"type": "profile", "id": source}]}}
    data = {"type": "profile-merge", "id": into, "relationships": relation}
    assert library.Profiles.merge_profiles({"data": data}).data.id == into
    klaviyo.settle()
    assert [one.identifiers for one in klaviyo.profiles] == [{"external_id": "u1", "email": ANN}]

    named = {"profile": {"data": {"type": "profile", "id": into, "attributes": {}}}}
    data = {"type": "data-privacy-deletion-job", "attributes": named}
    assert library.Data_Privacy.request_profile_deletion({"data": data}) is None
    klaviyo.settle()
    assert klaviyo.profiles == []


def test_events_are_created_one_by_one_and_in_bulk_and_read(klaviyo: KlaviyoStandIn, library: Any) -> None:
    one = event({"email": ANN}, unique_id="m1", time="2026-11-20T09:00:00Z", value=9.5, properties={"sku": "D4"})
    many = bulk(({"email": ANN, "anonymous_id": "a1"}, [attributes(unique_id="m2"), attributes("B", unique_id="m3")]))
    assert library.Events.create_event(one) is None
    assert library.Events.bulk_create_events(many) is None
    klaviyo.settle()

    metrics = {one.attributes.name: one.id for one in library.Metrics.get_metrics().data}
    chosen = f'equals(metric_id,"{metrics["Viewed Product"]}"),greater-than(datetime,2026-11-20T08:00:00Z)'
    page = library.Events.get_events(filter=chosen, sort="datetime", include=["profile", "metric"], page_size=1)
    [first] = page.data
    assert first.attributes.event_properties == {"sku": "D4", "$value": 9.5, "$event_id": "m1"}
    assert (first.attributes.timestamp, first.relationships.metric.data.id) == (
        *(NOW // SECOND - 3600,),
        metrics["Viewed Product"],
    )
    assert [one["type"] for one in page.included] == ["profile", "metric"]
    [second] = library.Events.get_events(filter=chosen, page_size=1, page_cursor=cursor(page)).data
    assert second.attributes.event_properties == {"$event_id": "m2"}
    assert library.Events.get_event(second.id).data.attributes.uuid == second.attributes.uuid
    assert library.Events.get_profile_for_event(second.id).data.attributes.email == ANN


def test_the_account_and_its_tracking_settings_are_read_and_changed(klaviyo: KlaviyoStandIn, library: Any) -> None:
    [account] = library.Accounts.get_accounts().data
    [settings] = library.Tracking_Settings.get_tracking_settings().data
    assert (account.attributes.public_api_key, settings.id) == (account.id, account.id)
    parameter = {"name": "kl_pid", "campaign": {"type": "dynamic", "value": "profile_id"}}
    given = {"auto_add_parameters": True, "custom_parameters": [parameter]}
    data = {"type": "tracking-setting", "id": account.id, "attributes": given}
    changed = library.Tracking_Settings.update_tracking_setting(account.id, {"data": data}).data.attributes
    assert (changed.auto_add_parameters, changed.custom_parameters[0].name) == (True, "kl_pid")
    read = library.Tracking_Settings.get_tracking_setting(account.id).data.attributes
    assert read.custom_parameters[0].campaign == {"type": "dynamic", "value": "profile_id"}


def test_webhooks_are_listed_created_enabled_and_deleted(klaviyo: KlaviyoStandIn, library: Any) -> None:
    assert OPENED in [one.id for one in library.Webhooks.get_webhook_topics().data]
    given = {"name": "ours", "endpoint_url": "https://shop.example/hook", "secret_key": "0123456789abcdef"}
    topics = {"webhook-topics": {"data": [{"type": "webhook-topic", "id": OPENED}]}}
    data = {"type": "webhook", "attributes": given, "relationships": topics}
    made = library.Webhooks.create_webhook({"data": data}).data
    assert (made.attributes.endpoint_url, made.attributes.enabled) == ("https://shop.example/*****", True)
    off = {"type": "webhook", "id": made.id, "attributes": {"enabled": False}}
    assert library.Webhooks.update_webhook(made.id, {"data": off}).data.attributes.enabled is False
    assert [one.id for one in library.Webhooks.get_webhooks().data] == [made.id]
    assert library.Webhooks.get_webhook(made.id).data.relationships.webhook_topics.data[0].id == OPENED
    assert library.Webhooks.delete_webhook(made.id) is None
    assert library.Webhooks.get_webhooks().data == []


def test_consent_jobs_are_taken_note_of(klaviyo: KlaviyoStandIn, library: Any) -> None:
    marketing = {"email": {"marketing": {"consent": "SUBSCRIBED"}}}
    one = {"type": "profile", "attributes": {"email": ANN, "subscriptions": marketing}}
    given = {"profiles": {"data": [one]}, "historical_import": False}
    library.Profiles.bulk_subscribe_profiles(
        {"data": {"type": "profile-subscription-bulk-create-job", "attributes": given}}
    )

    [(name, document)] = klaviyo.consents
    assert (name, document["data"]["attributes"]) == ("profile-subscription-bulk-create-jobs", given)


def test_a_refusal_is_an_error_it_can_read(klaviyo: KlaviyoStandIn, library: Any) -> None:
    put(klaviyo, email=ANN)
    with pytest.raises(ApiException) as refused:
        library.Profiles.create_profile(profile({"email": ANN}))
    with pytest.raises(ApiException) as unknown:
        KlaviyoAPI("pk_other", max_retries=0, test_host=klaviyo.url).Metrics.get_metrics()

    assert [one.value.status for one in (refused, unknown)] == [409, 401]
    errors: list[Any] = [one.value.data for one in (refused, unknown)]
    assert errors[0].errors[0].source.pointer == "/data/attributes"
    assert errors[1].errors[0].code == "authentication_failed"
