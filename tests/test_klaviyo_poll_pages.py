"""A page of Klaviyo's events, how far readings are, and what [poll] may say: without a network."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector import house as building
from connector import inbox, leases, mapping, resources, source_mapping, validate
from connector.errors import MappingError
from connector.house import House
from connector.keys import Keys
from connector.klaviyo import pages, readings, records, stored
from connector.klaviyo.pages import Slot, Unreadable
from connector.klaviyo.readings import Metric, Reading
from connector.messages import DAY, HOUR, MINUTE, SECOND, Identifier, Kind, Message, Received, Stored, iso
from connector.poll_mapping import Poll
from connector.store import Store
from tests import told
from tests.test_samples import CASES, case, understood

NOW = told.NOW
KEYS = Keys("a secret of the tests")
SLOT = Slot("OPENED", "event:klaviyo.opened_email", None)
SHIPPED = resources.shipped_mappings() / "sources/klaviyo.toml"
SOURCE = mapping.load(resources.shipped_mappings()).sources["klaviyo"]
assert SOURCE.poll is not None
POLL = SOURCE.poll


def event(number: str = "e1", at: int = NOW, profile: str | None = "01JANE", **more: Any) -> dict[str, Any]:
    named = {"profile": {"data": {"type": "profile", "id": profile}}} if profile else {}
    return {
        "type": "event",
        "id": number,
        "attributes": {
            "timestamp": at // SECOND,
            "datetime": iso(at)[:19] + "+00:00",
            "event_properties": more.pop("properties", more),
            "uuid": "u",
        },
        "relationships": named,
        "links": {"self": f"https://a.klaviyo.com/api/events/{number}/"},
    }


def profile(number: str = "01JANE", **attributes: Any) -> dict[str, Any]:
    return {"type": "profile", "id": number, "attributes": attributes}


def page(*data: Any, included: Any = (), following: Any = None) -> dict[str, Any]:
    return {"data": list(data), "included": list(included), "links": {"self": "…", "next": following, "prev": None}}


def read(document: dict[str, Any], slot: Slot = SLOT, now: int = NOW) -> pages.Page:
    return pages.read(document, pages.query("OPENED", NOW - DAY, None), slot, KEYS, now)


def meant(received: Received, house: House) -> Message:
    one = received
    number = Stored(1, one.source, one.message_id, one.body, one.received_at, True, one.envelope, one.rotten)
    return validate.read(number, house.reader)


# -- what is asked ---------------------------------------------------------------------------------------------------


def test_a_reading_asks_by_metric_and_time_with_profiles_the_oldest_first() -> None:
    assert pages.query("Ab1", 1_700_000_000_999, 1_700_000_100_001) == {
        "filter": 'equals(metric_id,"Ab1"),greater-or-equal(datetime,2023-11-14T22:13:20Z)'
        ",less-than(datetime,2023-11-14T22:15:01Z)",
        "sort": "datetime",
        "page[size]": "1000",
        "include": "profile",
        "fields[event]": "timestamp,datetime,event_properties,uuid",
        "fields[profile]": "email,phone_number,external_id",
    }


# -- what comes ------------------------------------------------------------------------------------------------------


def test_an_event_is_the_webhooks_element_with_what_only_the_api_says_beside_it() -> None:
    jane = profile(email="jane@x.test", phone_number="+15005550006", external_id="u1", first_name="Jane")
    record, one = read(page(event(Subject="Hi"), included=[jane]), replace(SLOT, history_until=NOW + 1)).received
    assert json.loads(one.body) == {
        "external_id": "e1",
        "topic": "event:klaviyo.opened_email",
        "payload": {
            "data": {
                "type": "event",
                "id": "e1",
                "attributes": {
                    "timestamp": NOW // SECOND,
                    "datetime": iso(NOW)[:19].replace("T", " ") + "+00:00",
                    "event_properties": {"Subject": "Hi"},
                    "uuid": "u",
                },
                "relationships": {
                    "profile": {"data": {"type": "profile", "id": "01JANE"}},
                    "metric": {"data": {"type": "metric", "id": "OPENED"}},
                },
            }
        },
    }
    assert json.loads(one.envelope or "") == {"profile": {"email": "jane@x.test", "external_id": "u1"}, "history": True}
    assert (one.source, one.message_id, one.received_at, one.authenticated) == ("klaviyo", "e1", NOW, True)
    assert json.loads(record.body) == {
        "external_id": record.message_id,
        "topic": "profile",
        "payload": {
            "data": {
                "type": "profile",
                "id": "01JANE",
                "attributes": {"email": "jane@x.test", "phone_number": "+15005550006", "external_id": "u1"},
            },
            "profile_id": "01JANE",
        },
    }


def test_an_event_without_profile_or_with_an_unknown_time_is_kept() -> None:
    nobody = event("e2", profile=None)
    nobody["attributes"]["datetime"] = "soon"
    nobody["attributes"]["timestamp"] = "later"
    found = read(page(nobody))
    assert [(one.message_id, one.envelope) for one in found.received] == [("e2", None)]
    assert (found.profiles, found.reached, found.events) == ({}, None, 1)


@pytest.mark.parametrize("rubbish", [None, 7, [], {}, {"id": 7}, {"id": ""}, {"id": "e", "attributes": []}])
def test_rubbish_among_the_events_does_not_cost_the_others(rubbish: Any) -> None:
    found = read(page(rubbish, event(), included=[rubbish, {"type": "profile", "id": "01JANE", "attributes": rubbish}]))
    assert [one.message_id for one in found.received if one.message_id != "e"] == ["e1"]


@pytest.mark.parametrize("document", [{}, {"data": None}, {"data": {"type": "event"}}])
def test_what_is_no_page_is_not_taken_for_the_last_one(document: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match="has no list of them"):
        read(document)


def test_the_next_page_is_asked_of_our_own_host_whatever_the_link_says() -> None:
    link = "https://evil.example/api/events?filter=equals%28metric_id%2C%22A%22%29&page%5Bcursor%5D=a%3D%3D"
    assert read(page(following=link)).following == {"filter": 'equals(metric_id,"A")', "page[cursor]": "a=="}


@pytest.mark.parametrize("link", ["https://a.klaviyo.com/api/events", "nowhere", 7, {"href": "?a=b"}])
def test_a_link_that_leads_nowhere_is_no_end(link: Any) -> None:
    with pytest.raises(Unreadable, match="leads nowhere"):
        read(page(following=link))


def test_a_link_to_the_same_page_is_no_next_one() -> None:
    asked = pages.query("OPENED", NOW - DAY, None)
    link = "https://a.klaviyo.com/api/events?" + "&".join(f"{name}={value}" for name, value in asked.items())
    with pytest.raises(Unreadable, match="leads nowhere"):
        read(page(following=link))


def test_the_newest_time_is_never_one_to_come() -> None:
    found = read(page(event("e1", NOW - HOUR), event("e2", NOW - MINUTE), event("e3", NOW + 18 * HOUR)))
    assert found.reached == NOW - MINUTE


def test_what_text_cannot_hold_is_stored_all_the_same(store: Store, house: House) -> None:
    cut = json.loads(json.dumps(page(event(Subject="Hi \ud83d", note="a\x00b"))))
    found = read(cut)
    with store.writing() as tx:
        assert stored.keep(tx, found, KEYS, NOW) == 1
        (one,) = inbox.take(tx, 10)
    assert validate.read(one, house.reader).properties["email_subject"] == "Hi \ufffd"


# -- what it means ---------------------------------------------------------------------------------------------------


def klaviyo_cases() -> list[str]:
    return [one for one in CASES if one.startswith("klaviyo/") and one != "klaviyo/rotten_elements"]


@pytest.mark.parametrize("name", klaviyo_cases())
def test_every_sample_means_the_same_when_the_api_tells_it(name: str, house: House) -> None:
    sample = case(name)
    for element, expected in zip(json.loads(sample.body)["data"], sample.expected, strict=True):
        data = element["payload"]["data"]
        slot = Slot(data["relationships"]["metric"]["data"]["id"], element["topic"], None)
        (one,) = read(page(data), slot, sample.now).received
        found = understood(Stored(1, one.source, one.message_id, one.body, NOW, True, None, None), house.reader)
        assert {key: found[key] for key in expected} == expected


def test_every_metric_that_is_read_means_something_or_is_explained() -> None:
    told_of = {**SOURCE.names, **SOURCE.because}
    assert [word for word in POLL.metrics.values() if word not in told_of] == []
    assert set(POLL.metrics) >= {
        "Received Email",
        "Opened Email",
        "Clicked Email",
        "Bounced Email",
        "Dropped Email",
        "Marked Email as Spam",
        "Unsubscribed from Email Marketing",
        "Unsubscribed",
        "Merged Profile",
    }


def test_a_record_joins_everything_that_names_its_profile(house: House) -> None:
    known = {"email": "Jane@X.test", "phone_number": "+15005550006", "external_id": "u1"}
    one = records.of_profile("01JANE", known, KEYS, NOW, exchange_id="f" * 32)
    assert one is not None
    message = meant(one, house)
    email, rest = Identifier("email", "jane@x.test"), {("phone", "+15005550006"), ("klaviyo_user_id", "u1")}
    assert {(tuple(b), kind) for a, b, kind in message.links if a == email} == {
        *((other, Kind.VENDOR) for other in rest),
        (("klaviyo_profile_id", "01JANE"), Kind.VENDOR),
    }
    assert {one.type for one in message.identifiers} >= {"klaviyo_exchange_id", "klaviyo_profile_id"}
    assert message.email is not None
    assert message.email.ignored == "a profile as Klaviyo's API knows it"


@pytest.mark.parametrize("name", ["Merged Profile ID", "merged_profile_id", "Source Profile ID", "source_profile_id"])
def test_a_merged_profile_is_joined_to_the_one_that_is_left(name: str, house: House) -> None:
    slot = Slot("MERGED", "event:klaviyo.merged_profile", None)
    (one,) = read(page(event(properties={name: "01GONE"})), slot).received
    gone, left = (Identifier("klaviyo_profile_id", each) for each in ("01GONE", "01JANE"))
    assert [{a, b} for a, b, kind in meant(one, house).links if kind == Kind.VENDOR] == [{gone, left}]


def test_a_record_says_nothing_of_whose_it_is_in_its_name_and_is_another_when_it_says_something_else() -> None:
    known = {"email": "jane@x.test"}
    made = [
        records.of_profile("01JANE", known, KEYS, NOW),
        records.of_profile("01JANE", {**known, "first_name": "Jane", "phone_number": None}, KEYS, NOW + 1),
        records.of_profile("01JANE", {**known, "external_id": "u1"}, KEYS, NOW),
        records.of_profile("01JOE", known, KEYS, NOW),
        records.of_profile("01JANE", known, Keys("another"), NOW),
        records.of_profile("01JANE", known, KEYS, NOW, formerly="01GONE"),
    ]
    ids = [one.message_id if one else "" for one in made]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 5
    assert all(one.startswith("profile-") and "01JANE" not in one for one in ids)


@pytest.mark.parametrize("known", [{}, None, [], {"email": " "}, {"email": 7}, {"first_name": "Jane"}])
def test_a_profile_that_says_nothing_of_who_it_is_makes_no_record(known: Any) -> None:
    assert records.of_profile("01JANE", known, KEYS, NOW) is None


@pytest.mark.parametrize("name", [None, 7, "", "jane@x.test", "a b", "x" * 65])
def test_what_is_no_id_of_a_profile_makes_no_record(name: Any) -> None:
    assert records.of_profile(name, {"email": "jane@x.test"}, KEYS, NOW) is None


def test_a_known_event_that_cannot_be_read_does_not_stop_the_page(store: Store) -> None:
    with store.writing() as tx:
        inbox.store(
            tx, [Received("klaviyo", one, body, NOW) for one, body in (("e1", "{NaN"), ("e2", ""), ("e3", "[]"))]
        )
        assert stored.keep(tx, read(page(*map(event, ("e1", "e2", "e3", "e4")))), KEYS, NOW) == 1


# -- how far ---------------------------------------------------------------------------------------------------------


def test_a_row_comes_back_as_it_was_written(store: Store) -> None:
    recent = Reading(1, None, {"page[cursor]": "a"}, 5)
    past = Reading(1, 9, size="100", history=True)
    rows = [Metric("A", "Opened Email", 1, 2, 3, recent, past), Metric("B", "Clicked Email", 1, 2, 3)]
    for change in (rows, [replace(rows[0], watermark=7, recent=None), rows[1]]):
        with store.writing() as tx:
            for one in change:
                readings.save(tx, "klaviyo", one)
            assert readings.load(tx, "klaviyo") == {one.id: one for one in change}
    with store.reading() as tx:
        assert readings.load(tx, "another") == {}


def test_the_day_after_a_look_for_what_came_late_is_due_and_reaches_no_further_than_history() -> None:
    metric = Metric("A", "Opened Email", NOW - DAY, NOW - MINUTE, NOW - DAY)
    assert readings.planned(metric, NOW - DAY, NOW, replace(POLL, history_ms=0)).past == Reading(NOW - DAY, NOW)
    found = readings.planned(replace(metric, began_at=NOW - 100 * DAY), NOW, NOW, POLL)
    assert (found.past, found.swept_at) == (Reading(NOW - 7 * DAY, NOW), NOW)
    assert readings.planned(replace(metric, swept_at=NOW - DAY + 1), NOW, NOW, POLL).past is None


def test_a_page_of_older_events_does_not_move_the_watermark_back() -> None:
    metric = Metric("A", "Opened Email", 1, 9, 0, recent=Reading(0, None), past=Reading(0, 9))
    assert readings.read_on(metric, "recent", 7, None) == replace(metric, recent=None)
    assert readings.read_on(metric, "past", 11, None) == replace(metric, past=None)
    assert readings.read_on(metric, "recent", 11, None) == replace(metric, recent=None, watermark=11)


def test_a_reading_under_way_is_not_planned_anew() -> None:
    under_way = Metric("A", "Opened Email", 1, 2, 0, Reading(3, None, {"a": "b"}), Reading(1, 2, {"c": "d"}))
    found = readings.planned(under_way, 1, NOW, POLL)
    assert (found.recent, found.past) == (under_way.recent, under_way.past)


@pytest.mark.parametrize("wrong", [NOW + DAY, NOW - 400 * DAY])
def test_since_when_events_count_is_remembered_unless_it_is_to_come(store: Store, wrong: int) -> None:
    with store.writing() as tx:
        assert readings.began_at(tx, "klaviyo", wrong) == wrong
        assert readings.began_at(tx, "klaviyo", NOW) == min(wrong, NOW)
        assert readings.began_at(tx, "klaviyo", NOW + HOUR) == min(wrong, NOW)


def test_a_lease_is_renewed_runs_out_and_is_given_back(store: Store) -> None:
    with store.writing() as tx:
        assert leases.take(tx, "poll", "a", NOW, MINUTE)
        assert not leases.take(tx, "poll", "b", NOW + SECOND, MINUTE)
        assert leases.take(tx, "poll", "a", NOW + SECOND, MINUTE)
        assert leases.holder_of(tx, "poll", NOW + MINUTE) == "a"
        assert leases.take(tx, "other", "b", NOW, MINUTE)
        assert leases.take(tx, "poll", "b", NOW + SECOND + MINUTE, MINUTE)
        leases.give_back(tx, "poll", "a")
        assert not leases.take(tx, "poll", "a", NOW + 2 * MINUTE, MINUTE)
        leases.give_back(tx, "poll", "b")
        assert leases.holder_of(tx, "poll", NOW) is None
        assert leases.take(tx, "poll", "a", NOW, MINUTE)


def test_a_lease_of_a_clock_that_was_far_ahead_does_not_last_until_then(store: Store) -> None:
    with store.writing() as tx:
        assert leases.take(tx, "poll", "a", NOW + DAY, MINUTE)
        assert leases.take(tx, "poll", "b", NOW, MINUTE)


# -- what the mapping may say ----------------------------------------------------------------------------------------


def changed(**poll: Any) -> source_mapping.Source:
    table = tomllib.loads(SHIPPED.read_text())
    table["poll"] |= poll
    return source_mapping.read("sources/klaviyo.toml", table)


def test_the_shipped_settings_are_what_the_comments_say() -> None:
    assert replace(POLL, metrics={}) == Poll(
        enabled=True,
        every_ms=MINUTE,
        overlap_ms=10 * MINUTE,
        sweep_ms=7 * DAY,
        history_ms=30 * DAY,
        history_counts=False,
        metrics={},
    )


@pytest.mark.parametrize(
    ("wrong", "told_of"),
    [
        ({"every": "1s"}, "[poll] every: expected a duration from 5s to 10m, found '1s'"),
        ({"overlap": 600}, "[poll] overlap: expected a duration from 1m to 1d, found 600"),
        ({"sweep": "22d"}, "[poll] sweep: expected a duration from 1h to 21d, found '22d'"),
        ({"history": "366d"}, "[poll] history: expected a duration from 0s to 365d, found '366d'"),
        ({"history_counts": "no"}, "[poll] history_counts: expected true or false, found 'no'"),
        ({"enabled": "no"}, "[poll] enabled: expected true or false, found 'no'"),
        (
            {"metrics": {}},
            '[poll] metrics: expected the platform\'s names of what is read, such as "Opened Email" = "opened",'
            " found {}",
        ),
        ({"metrics": {"Opened Email": 1}}, "[poll.metrics] Opened Email: expected text, found 1"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_a_mistake_in_the_settings_is_told(wrong: dict[str, Any], told_of: str) -> None:
    with pytest.raises(MappingError) as error:
        changed(**wrong)
    assert error.value.mistakes == (f"sources/klaviyo.toml: {told_of}",)


def test_a_misspelt_setting_is_told() -> None:
    with pytest.raises(MappingError, match=r"\[poll\] has the unknown key 'intervall'"):
        changed(intervall="60s")


def test_an_override_from_before_polling_keeps_the_shipped_settings(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    lines = SHIPPED.read_text().replace('forward = "all"', 'forward = "repaired"')
    table = tomllib.loads(lines)
    kept = lines[: lines.index("# The API is read where")] + lines[lines.index("# A bounce that says") :]
    (tmp_path / "sources/klaviyo.toml").write_text(kept)
    found = mapping.load(resources.shipped_mappings(), tmp_path).sources["klaviyo"]
    assert (found.forward, found.poll, table["poll"]["every"]) == ("repaired", POLL, "60s")


def test_a_platform_without_an_api_is_not_polled() -> None:
    found = mapping.load(resources.shipped_mappings()).sources
    assert [name for name, one in found.items() if one.poll] == ["klaviyo"]


@pytest.mark.parametrize("counts", [True, False])
def test_the_mark_of_history_counts_where_an_api_is_polled_only(counts: bool) -> None:
    source = replace(SOURCE, poll=POLL if counts else None)
    mappings = mapping.load(resources.shipped_mappings())
    sources = {**mappings.sources, "klaviyo": source}
    house = building.build(told.configured(), replace(mappings, sources=sources))
    (one,) = read(
        page(event(properties={"Recipient Email Address": "j@x.test"})), replace(SLOT, history_until=NOW + 1)
    ).received
    message = meant(one, house)
    assert message.email is not None
    said = "from before the connector polled Klaviyo: evidence only"
    assert message.email.ignored == (said if counts else None)
    assert orjson.loads(one.envelope or "") == {"history": True}
