"""What people do on the site, on its way to Klaviyo: under which names, when, and what never leaves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from connector.house import House
from connector.messages import DAY, Identifier, Received
from connector.store import Store
from tests import klaviyo_rows as rows
from tests import outbox_rows, streams
from tests.klaviyo_rows import arrive, bodies, events, profiles, states
from tests.told import NOW, call, identify, page, stitch

JANE, JOE = "jane@x.test", "joe@x.test"


def track(message_id: str, at: str, event: str = "Song Played", **parts: Any) -> Received:
    return call(message_id, at, type="track", event=event, **parts)


@pytest.fixture(scope="module")
def house() -> House:
    return rows.house()


@pytest.fixture
def keeping(tmp_path: Path) -> House:
    """A house that keeps anonymous activity."""
    return _house_with(tmp_path, "[backfill]\nenabled = true\n")


def _house_with(folder: Path, text: str) -> House:
    """A house whose mapping into Klaviyo says this; what it does not say is as shipped."""
    (folder / "destinations").mkdir()
    (folder / "destinations" / "klaviyo.toml").write_text(text)
    return rows.house(str(folder))


# -- profiles ---------------------------------------------------------------------------------------------------------


def test_a_visitor_who_signs_up_has_address_and_external_id_in_one_call(store: Store, house: House) -> None:
    arrive(store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE, firstName="Jane", plan="pro"))
    assert profiles(store) == [
        {"email": JANE, "external_id": "u1", "first_name": "Jane", "properties": {"plan": "pro"}}
    ]


def test_an_address_given_first_gets_its_external_id_in_one_call_with_it(store: Store, house: House) -> None:
    arrive(store, house, identify("i1", "10:00:00", "B1", email=JANE, plan="free"))
    arrive(store, house, identify("i2", "11:00:00", "B1", user_id="u1", email=JANE, plan="pro"))
    assert profiles(store) == [
        {"email": JANE, "properties": {"plan": "free"}},
        {"email": JANE, "external_id": "u1", "properties": {"plan": "pro"}},
    ]


def test_what_was_said_of_an_address_keeps_its_turn_before_what_is_said_of_its_person(
    store: Store, house: House
) -> None:
    arrive(store, house, identify("i1", "10:00:00", "B1", email=JANE, plan="free"))
    arrive(store, house, identify("i2", "11:00:00", "B1", user_id="u1", email=JANE, plan="pro"))
    with store.reading() as tx:
        subjects = [row[0] for row in tx.exec_driver_sql("select subject_id from outbox order by id")]
        user = tx.exec_driver_sql("select id from identifiers where value = 'u1'").scalar_one()
    assert subjects == [user, user], "one after the other, whatever is tried again"


def test_who_has_no_address_has_no_profile_until_there_is_one_and_then_with_all_traits(
    sqlite_store: Store, house: House
) -> None:
    arrive(sqlite_store, house, identify("i1", "10:00:00", "B1", user_id="u1", firstName="Jane", plan="free"))
    assert bodies(sqlite_store) == []
    arrive(sqlite_store, house, identify("i2", "11:00:00", "B1", user_id="u1", email=JANE, plan="pro"))
    assert profiles(sqlite_store) == [
        {"email": JANE, "external_id": "u1", "first_name": "Jane", "properties": {"plan": "pro"}}
    ]


def test_a_site_that_identifies_on_every_page_tells_only_what_is_new(sqlite_store: Store, house: House) -> None:
    for n in range(5):
        arrive(sqlite_store, house, identify(f"i{n}", f"10:00:0{n}", "B1", user_id="u1", email=JANE, plan="pro"))
    arrive(sqlite_store, house, identify("i8", "10:00:08", "B1", user_id="u1", email=JANE, plan="pro", city_club=True))
    assert profiles(sqlite_store) == [
        {"email": JANE, "external_id": "u1", "properties": {"plan": "pro"}},
        {"email": JANE, "external_id": "u1", "properties": {"city_club": True}},
    ]


def test_whoever_says_nothing_new_costs_no_look_at_all_they_ever_said(sqlite_store: Store, house: House) -> None:
    arrive(sqlite_store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE, plan="pro"))
    asked: list[str] = []

    def listen(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        asked.append(statement)

    sa.event.listen(sqlite_store.engine, "before_cursor_execute", listen)
    arrive(sqlite_store, house, identify("i2", "10:00:01", "B1", user_id="u1", email=JANE, plan="pro"))
    nothing_new = [one for one in asked if "from traits" in one and "integrations" in one]
    arrive(sqlite_store, house, identify("i3", "10:00:02", "B1", user_id="u1", email=JANE, plan="free"))
    news = [one for one in asked if "from traits" in one and "integrations" in one]
    sa.event.remove(sqlite_store.engine, "before_cursor_execute", listen)
    assert (len(nothing_new), len(news)) == (0, 1)


def test_after_a_day_everything_is_told_again(sqlite_store: Store, house: House) -> None:
    arrive(sqlite_store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE, plan="pro"))
    again = identify("i2", "10:00:01", "B1", user_id="u1", email=JANE, plan="pro")
    arrive(sqlite_store, house, again, now=NOW + DAY)
    assert [one["properties"] for one in profiles(sqlite_store)] == [{"plan": "pro"}] * 2


def test_what_is_told_is_the_latest_by_event_time_whatever_arrives_last(store: Store, house: House) -> None:
    arrive(store, house, identify("new", "12:00:00", "B1", user_id="u1", email="new@x.test", plan="pro"))
    arrive(store, house, identify("old", "09:00:00", "B1", user_id="u1", email="old@x.test", plan="free", since=2019))
    assert profiles(store) == [
        {"email": "new@x.test", "external_id": "u1", "properties": {"plan": "pro"}},
        {"email": "new@x.test", "external_id": "u1", "properties": {"since": 2019}},
    ]


def test_two_people_who_share_an_address_are_never_named_together(sqlite_store: Store, house: House) -> None:
    arrive(sqlite_store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    arrive(sqlite_store, house, identify("i2", "11:00:00", "B2", user_id="u2", email=JANE))
    arrive(sqlite_store, house, track("t1", "12:00:00", userId="u1"), track("t2", "12:00:00", userId="u2"))
    named = {(one.get("external_id"), one.get("email")) for _, one in events(sqlite_store)}
    assert ("u1", JANE) not in named, "since eleven the address is the other one's"
    assert named == {("u2", JANE)}


# -- events -----------------------------------------------------------------------------------------------------------


def test_an_event_carries_exactly_the_names_that_evidence_joined(store: Store, house: House) -> None:
    arrive(store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    arrive(
        store, house, track("t1", "10:05:00", userId="u1", anonymousId="B1"), track("t2", "10:06:00", anonymousId="B1")
    )
    assert events(store) == [("Song Played", {"email": JANE, "external_id": "u1"})] * 2


def test_an_anonymous_event_after_the_address_was_given_is_the_addresss(store: Store, house: House) -> None:
    arrive(store, house, identify("i1", "10:00:00", "B1", email=JANE), track("t1", "10:05:00", anonymousId="B1"))
    assert events(store) == [("Song Played", {"email": JANE})]


def test_the_first_event_of_a_customer_brings_the_profile_with_it(sqlite_store: Store, house: House) -> None:
    server = call("s1", "09:00:00", type="track", event="Invoiced", userId="u1", context={"traits": {"email": JANE}})
    arrive(sqlite_store, house, server)
    assert profiles(sqlite_store) == [{"email": JANE, "external_id": "u1"}]
    assert events(sqlite_store) == [("Invoiced", {"email": JANE, "external_id": "u1"})]


def test_an_event_that_still_waits_does_not_turn_a_new_address_back(store: Store, house: House) -> None:
    arrive(
        store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE), track("t1", "10:01:00", userId="u1")
    )
    arrive(store, house, identify("i2", "11:00:00", "B1", user_id="u1", email="new@x.test"))
    assert events(store) == [("Song Played", {"email": "new@x.test", "external_id": "u1"})]


def test_an_address_that_an_event_tells_is_told_at_once(sqlite_store: Store, house: House) -> None:
    arrive(sqlite_store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE, plan="pro"))
    told = {"traits": {"email": "new@x.test"}}
    arrive(sqlite_store, house, track("t1", "11:00:00", userId="u1", context=told))
    arrive(sqlite_store, house, track("t2", "11:01:00", userId="u1"))
    assert profiles(sqlite_store)[1:] == [{"email": "new@x.test", "external_id": "u1"}]


def test_who_is_known_by_a_click_is_named_by_the_address_they_have_now(sqlite_store: Store, house: House) -> None:
    mail = streams.klaviyo(0, JANE, "KP1")
    change = [streams.identify(1, "B9", "u1", JANE), streams.identify(2, "B9", "u1", "new@x.test")]
    arrive(sqlite_store, house, mail, *change, landed(5, "B1"), played(6, "B1"), now=streams.NOW)
    assert [named for metric, named in events(sqlite_store) if metric == "Song Played"] == [{"email": "new@x.test"}]


def test_after_another_person_signed_in_a_browsers_events_are_theirs(sqlite_store: Store, house: House) -> None:
    arrive(sqlite_store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    arrive(sqlite_store, house, identify("i2", "12:00:00", "B1", user_id="u2", email=JOE))
    arrive(sqlite_store, house, track("t1", "11:00:00", anonymousId="B1"), track("t2", "13:00:00", anonymousId="B1"))
    assert [named["external_id"] for _, named in events(sqlite_store)] == ["u1", "u2"]


def test_a_user_id_that_only_a_third_name_leads_to_is_left_out(sqlite_store: Store, house: House) -> None:
    """The number was seen with the address, and the address with the userId; the number never was with the userId."""
    arrive(sqlite_store, house, identify("i1", "10:00:00", phone="+15005550006", email=JANE, anonymous_id="B1"))
    arrive(sqlite_store, house, identify("i2", "10:01:00", user_id="u1", email=JANE))
    by_number = track("t1", "10:02:00", anonymousId="B2", context={"traits": {"phone": "+15005550006"}})
    arrive(sqlite_store, house, by_number)
    assert events(sqlite_store) == [("Song Played", {"email": JANE})]


def test_an_address_that_klaviyo_would_refuse_is_none(sqlite_store: Store, house: House) -> None:
    arrive(sqlite_store, house, identify("i1", "10:00:00", "B1", user_id="u1", phone="12345"))
    arrive(sqlite_store, house, track("t1", "10:01:00", userId="u1"))
    assert bodies(sqlite_store) == []


def test_a_phone_number_is_enough_and_leaves_beside_no_address_in_an_event(sqlite_store: Store, house: House) -> None:
    arrive(sqlite_store, house, identify("i1", "10:00:00", "B1", user_id="u1", phone="+15005550006"))
    arrive(sqlite_store, house, track("t1", "10:01:00", userId="u1"))
    assert events(sqlite_store) == [("Song Played", {"phone_number": "+15005550006", "external_id": "u1"})]
    assert profiles(sqlite_store) == [{"phone_number": "+15005550006", "external_id": "u1"}]
    arrive(sqlite_store, house, identify("i2", "10:02:00", "B1", user_id="u1", email=JANE))
    arrive(sqlite_store, house, track("t2", "10:03:00", userId="u1"))
    assert profiles(sqlite_store)[1] == {"email": JANE, "phone_number": "+15005550006", "external_id": "u1"}
    assert events(sqlite_store)[1] == ("Song Played", {"email": JANE, "external_id": "u1"})


@pytest.mark.parametrize(
    "integrations", [{"Klaviyo": False}, {"All": False}, {"Klaviyo (Actions)": False}, {"All": True, "Klaviyo": False}]
)
def test_a_call_whose_integrations_switch_klaviyo_off_does_not_go_there(
    sqlite_store: Store, house: House, integrations: dict[str, bool]
) -> None:
    arrive(sqlite_store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    arrive(sqlite_store, house, track("t1", "10:01:00", userId="u1", integrations=integrations))
    assert events(sqlite_store) == []


def test_traits_that_a_call_keeps_from_klaviyo_do_not_leave_with_another_either(store: Store, house: House) -> None:
    arrive(store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE, plan="free"))
    kept = call("i2", "10:01:00", type="identify", userId="u1", traits={"diagnosis": "flu", "plan": "pro"},
                integrations={"Klaviyo": False})  # fmt: skip
    arrive(store, house, kept)
    arrive(store, house, identify("i3", "10:02:00", "B1", user_id="u1", email=JANE, city_club=True))
    assert [one.get("properties") for one in profiles(store)] == [{"plan": "free"}, {"city_club": True}]


def test_what_an_email_platform_said_is_not_told_to_klaviyo(sqlite_store: Store, house: House) -> None:
    platform = {"integration": {"name": "Iterable"}}
    arrive(sqlite_store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    arrive(
        sqlite_store, house, call("e1", "10:01:00", type="track", event="Email Opened", userId="u1", context=platform)
    )
    arrive(sqlite_store, house, call("e2", "10:01:00", type="track", event="Push Sent", userId="u1", context=platform))
    assert events(sqlite_store) == []


def test_the_log_says_what_klaviyo_was_told(sqlite_store: Store, house: House) -> None:
    arrive(sqlite_store, house, track("t0", "09:00:00", anonymousId="B0"))
    arrive(sqlite_store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    arrive(sqlite_store, house, track("t1", "10:01:00", userId="u1"))
    with sqlite_store.reading() as tx:
        reasons = [row[0] for row in tx.exec_driver_sql("select reason from messages order by id")]
    assert reasons == [
        "nothing to link; not for Klaviyo: nobody is known yet whose activity this is",
        "2 links seen between its 3 identifiers; for Klaviyo: their profile (known by their user_id)",
        "nothing to link; for Klaviyo: an event (known by their user_id)",
    ]


def test_without_klaviyo_among_the_destinations_nothing_is_made_for_it(sqlite_store: Store) -> None:
    from tests import told

    arrive(sqlite_store, told.house(), identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    assert states(sqlite_store) == []


# -- what visitors did before -----------------------------------------------------------------------------------------


def test_what_a_visitor_did_before_is_sent_with_its_own_time_when_they_are_known(store: Store, keeping: House) -> None:
    arrive(store, keeping, track("t1", "09:00:00", anonymousId="B1"), track("t2", "09:30:00", anonymousId="B1"))
    assert (bodies(store), states(store)) == ([], [("t1", "held"), ("t2", "held")])
    arrive(store, keeping, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    sent = [body["data"]["attributes"] for body in bodies(store) if body["call"] == "event"]
    assert [(one["time"], one["unique_id"], one["backfill"]) for one in sent] == [
        ("2026-09-01T09:00:00.000Z", "t1", True),
        ("2026-09-01T09:30:00.000Z", "t2", True),
    ]
    assert [named for _, named in events(store)] == [{"email": JANE, "external_id": "u1"}] * 2


def test_every_event_that_waits_is_counted(sqlite_store: Store, keeping: House) -> None:
    order = {"order_id": "1", "products": [{"product_id": "a"}, {"product_id": "b"}]}
    arrive(sqlite_store, keeping, track("t1", "09:00:00", "Order Completed", anonymousId="B1", properties=order))
    assert outbox_rows.counted(sqlite_store) == {"outbox.klaviyo.held": 3}
    arrive(sqlite_store, keeping, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    assert outbox_rows.counted(sqlite_store) == {"outbox.klaviyo.pending": 4}


def test_what_was_before_they_were_known_is_that_in_the_same_batch_too(
    sqlite_store: Store, house: House, tmp_path: Path
) -> None:
    from connector import inbox

    together = [track("t1", "09:00:00", anonymousId="B1"), identify("i1", "10:00:00", "B1", user_id="u1", email=JANE)]
    with sqlite_store.writing() as tx:
        inbox.store(tx, together)
    stitch(sqlite_store, house)
    assert events(sqlite_store) == [], "backfill is off"
    arrive(
        sqlite_store, _house_with(tmp_path, "[backfill]\nenabled = true\n"), track("t2", "09:30:00", anonymousId="B1")
    )
    late = [body["data"]["attributes"].get("backfill") for body in bodies(sqlite_store) if body["call"] == "event"]
    assert late == [True]


def test_it_is_sent_once_however_often_its_visitor_is_seen(sqlite_store: Store, keeping: House) -> None:
    arrive(sqlite_store, keeping, track("t1", "09:00:00", anonymousId="B1"))
    for n in range(3):
        arrive(sqlite_store, keeping, identify(f"i{n}", f"10:00:0{n}", "B1", user_id="u1", email=JANE))
    assert [name for name, _ in states(sqlite_store)] == ["i0", "t1"]


def test_who_signs_in_without_an_address_is_waited_for_by_their_user_id(sqlite_store: Store, keeping: House) -> None:
    arrive(sqlite_store, keeping, track("t1", "09:00:00", anonymousId="B1"))
    arrive(sqlite_store, keeping, identify("i1", "10:00:00", "B1", user_id="u1"))
    assert events(sqlite_store) == []
    arrive(sqlite_store, keeping, identify("i2", "11:00:00", user_id="u1", email=JANE))
    assert events(sqlite_store) == [("Song Played", {"email": JANE, "external_id": "u1"})]


def test_a_browser_that_is_theirs_already_waits_for_their_address_too(sqlite_store: Store, keeping: House) -> None:
    arrive(sqlite_store, keeping, track("t0", "08:00:00", userId="u1", anonymousId="B1"))
    arrive(sqlite_store, keeping, track("t1", "09:00:00", anonymousId="B1"))
    arrive(sqlite_store, keeping, identify("i1", "10:00:00", user_id="u1", email=JANE))
    assert events(sqlite_store) == [("Song Played", {"email": JANE, "external_id": "u1"})] * 2


def test_an_address_that_comes_back_to_them_releases_what_waited(sqlite_store: Store, keeping: House) -> None:
    arrive(sqlite_store, keeping, identify("i1", "10:00:00", user_id="u1", email=JANE))
    arrive(sqlite_store, keeping, identify("i2", "11:00:00", user_id="u2", email=JANE))
    arrive(sqlite_store, keeping, track("t1", "12:00:00", userId="u1"))
    assert events(sqlite_store) == []
    arrive(sqlite_store, keeping, identify("i3", "13:00:00", user_id="u1", email=JANE))
    assert events(sqlite_store) == [("Song Played", {"email": JANE, "external_id": "u1"})]


def test_what_nobody_is_known_for_in_fourteen_days_is_given_up(store: Store, keeping: House) -> None:
    arrive(store, keeping, track("t1", "09:00:00", anonymousId="B1"))
    assert rows.expire(store, keeping, NOW + 14 * DAY - 1) == 0
    assert rows.expire(store, keeping, NOW + 14 * DAY) == 1
    arrive(store, keeping, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    assert (events(store), states(store)) == ([], [("i1", "pending"), ("t1", "dropped")])


def test_so_much_of_one_visitor_is_kept_and_no_more(sqlite_store: Store, tmp_path: Path) -> None:
    keeping = _house_with(tmp_path, "[backfill]\nenabled = true\nevents = 3\n")
    for n in range(5):
        arrive(sqlite_store, keeping, track(f"t{n}", f"09:00:0{n}", anonymousId="B1"))
    arrive(sqlite_store, keeping, track("other", "09:00:09", anonymousId="B2"))
    assert [name for name, _ in states(sqlite_store)] == ["other", "t0", "t1", "t2"]


def test_the_flag_that_keeps_flows_quiet_can_be_left_out(sqlite_store: Store, tmp_path: Path) -> None:
    keeping = _house_with(tmp_path, "[backfill]\nenabled = true\nflag = false\n")
    arrive(sqlite_store, keeping, track("t1", "09:00:00", anonymousId="B1"))
    arrive(sqlite_store, keeping, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    assert ["backfill" in body["data"]["attributes"] for body in bodies(sqlite_store)] == [False, False]


# -- consent ----------------------------------------------------------------------------------------------------------


def test_a_consent_that_the_mapping_asks_for_must_have_been_given(sqlite_store: Store, tmp_path: Path) -> None:
    asking = _house_with(tmp_path, 'consent = ["marketing"]\n')

    def said(granted: bool) -> dict[str, Any]:
        return {"context": {"consent": {"categoryPreferences": {"marketing": granted}}}}

    arrive(sqlite_store, asking, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    assert bodies(sqlite_store) == [], "nobody told of any consent"
    arrive(sqlite_store, asking, track("t1", "10:01:00", userId="u1", **said(False)))
    assert bodies(sqlite_store) == []
    arrive(sqlite_store, asking, track("t2", "10:02:00", userId="u1", anonymousId="B1", **said(True)))
    assert events(sqlite_store) == [("Song Played", {"email": JANE, "external_id": "u1"})]


def test_what_comes_late_from_before_a_refusal_is_not_sent_after_it(sqlite_store: Store, tmp_path: Path) -> None:
    from connector.resources import shipped_mappings

    shipped = (shipped_mappings() / "identity.toml").read_text()
    (tmp_path / "identity.toml").write_text(shipped.replace("required = []", 'required = ["marketing"]'))
    house = rows.house(str(tmp_path))
    refused = {"consent": {"categoryPreferences": {"marketing": False}}}
    arrive(sqlite_store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    arrive(sqlite_store, house, track("t2", "11:00:00", userId="u1", context=refused))
    arrive(sqlite_store, house, track("t1", "10:30:00", userId="u1"))
    assert (events(sqlite_store), profiles(sqlite_store)) == ([], [])


def test_a_refusal_takes_back_what_has_not_left_and_a_later_consent_tells_all_of_it(
    sqlite_store: Store, tmp_path: Path
) -> None:
    asking = _house_with(tmp_path, 'consent = ["marketing"]\n')

    def said(granted: bool) -> dict[str, Any]:
        return {"context": {"consent": {"categoryPreferences": {"marketing": granted}}}}

    told: dict[str, Any] = {"userId": "u1", "anonymousId": "B1", "type": "identify"}
    told["traits"] = {"email": JANE, "plan": "pro"}
    arrive(sqlite_store, asking, call("i1", "10:00:00", **told, **said(True)))
    arrive(sqlite_store, asking, track("t1", "10:01:00", userId="u1", anonymousId="B1", **said(False)))
    assert (events(sqlite_store), profiles(sqlite_store)) == ([], [])
    arrive(sqlite_store, asking, call("i2", "10:02:00", **told, **said(True)))
    assert profiles(sqlite_store) == [{"email": JANE, "external_id": "u1", "properties": {"plan": "pro"}}]


# -- repairs and forgetting -------------------------------------------------------------------------------------------


def test_what_has_not_left_follows_when_an_operator_takes_a_link_back(store: Store, keeping: House) -> None:
    from connector import operate

    arrive(store, keeping, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    arrive(store, keeping, track("t1", "10:05:00", anonymousId="B1"))
    assert events(store) == [("Song Played", {"email": JANE, "external_id": "u1"})]
    act = operate.unlink(NOW, left=Identifier("user_id", "u1"), right=Identifier("anonymous_id", "B1"), reason="kiosk")
    arrive(store, keeping, act)
    assert events(store) == []
    assert dict(states(store))["t1"] == "held"


def test_forgetting_ends_what_waits_and_what_has_not_left(store: Store, keeping: House) -> None:
    arrive(store, keeping, track("t0", "09:00:00", anonymousId="B2"))
    arrive(store, keeping, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    arrive(store, keeping, track("t1", "10:05:00", userId="u1"))
    arrive(store, keeping, call("d1", "11:00:00", type="delete", userId="u1"))
    assert [(one, state) for one, state in states(store) if one != "t0"] == [("i1", "dropped"), ("t1", "dropped")]
    assert bodies(store, "dropped") == [{}, {}]


def test_who_comes_back_after_being_forgotten_is_told_anew(sqlite_store: Store, house: House) -> None:
    arrive(sqlite_store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE, plan="pro"))
    arrive(sqlite_store, house, identify("i2", "12:00:00", "B1", user_id="u1", email=JANE))
    arrive(sqlite_store, house, call("d1", "11:00:00", type="delete", userId="u1"))
    arrive(sqlite_store, house, identify("i3", "13:00:00", "B1", user_id="u1", email=JANE))
    assert profiles(sqlite_store)[-1] == {"email": JANE, "external_id": "u1"}


def test_a_name_that_two_people_had_in_turns_deletes_nobody_at_klaviyo(sqlite_store: Store) -> None:
    from connector import operate

    house = rows.house(KLAVIYO_DELETE="1")
    arrive(sqlite_store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    arrive(sqlite_store, house, identify("i2", "11:00:00", "B2", user_id="u2", email=JANE))
    arrive(sqlite_store, house, operate.forget(NOW, Identifier("email", JANE), reason="asked"))
    assert [body for body in bodies(sqlite_store) if body["call"] == "deletion"] == []


def test_forgetting_is_passed_on_to_klaviyo_where_that_is_set(store: Store) -> None:
    house = rows.house(KLAVIYO_DELETE="1")
    arrive(store, house, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    arrive(store, house, call("d1", "11:00:00", type="delete", userId="u1"))
    assert [body["data"] for body in bodies(store)] == [
        {
            "type": "data-privacy-deletion-job",
            "attributes": {"profile": {"data": {"type": "profile", "attributes": {"email": JANE}}}},
        }
    ]


def test_the_deletion_of_whom_only_a_user_id_names_asks_klaviyo_by_that(sqlite_store: Store) -> None:
    house = rows.house(KLAVIYO_DELETE="1")
    arrive(sqlite_store, house, call("d1", "11:00:00", type="delete", userId="u9"))
    profile = {"type": "profile", "attributes": {"external_id": "u9"}}
    assert [body["data"]["attributes"]["profile"]["data"] for body in bodies(sqlite_store)] == [profile]


def test_a_batch_is_told_as_one_by_one(store: Store, house: House) -> None:
    from connector import inbox

    received = [identify(f"i{n}", "10:00:00", f"B{n}", user_id=f"u{n}", email=f"p{n}@x.test") for n in range(20)]
    received += [track(f"t{n}", "10:05:00", anonymousId=f"B{n}") for n in range(20)]
    received += [page(f"p{n}", "10:06:00", f"B{n}") for n in range(20)]
    with store.writing() as tx:
        inbox.store(tx, received)
    stitch(store, house)
    people = {(f"p{n}@x.test", f"u{n}") for n in range(20)}
    assert {(one["email"], one["external_id"]) for one in profiles(store)} == people
    assert Counter((one["email"], one["external_id"]) for _, one in events(store)) == dict.fromkeys(people, 2)


# -- known by a click -------------------------------------------------------------------------------------------------


def landed(minutes: float, browser: str, search: str = "?kl_pid=KP1", **more: Any) -> Received:
    return streams.page(
        minutes, browser, context={"page": {"url": f"https://x.test/{search}", "search": search}}, **more
    )


def played(minutes: float, browser: str, user: str | None = None) -> Received:
    return streams.call(minutes, type="track", event="Song Played", anonymousId=browser, userId=user)


def test_a_browser_that_landed_from_a_mail_acts_for_its_addressee_alone(store: Store, house: House) -> None:
    arrive(store, house, streams.klaviyo(0, JANE, "KP1"), landed(5, "B1"), played(6, "B1"), now=streams.NOW)
    assert [named for metric, named in events(store) if metric == "Song Played"] == [{"email": JANE}]
    assert profiles(store) == [], "a click is no reason to change a profile"


def test_a_token_is_resolved_later_and_what_was_kept_leaves_then(store: Store, keeping: House) -> None:
    arrive(store, keeping, landed(5, "B1", "?_kx=tOkEn1234.AbCd12"), played(6, "B1"), now=streams.NOW)
    assert events(store) == []
    arrive(store, keeping, streams.record(60, "KP1", JANE, token="tOkEn1234.AbCd12"), now=streams.NOW)
    assert [named for metric, named in events(store) if metric == "Song Played"] == [{"email": JANE}]


def test_a_forwarded_mail_does_not_make_its_reader_the_addressee(sqlite_store: Store, house: House) -> None:
    arrive(sqlite_store, house, streams.klaviyo(0, JANE, "KP1"), landed(5, "B1"), now=streams.NOW)
    arrive(sqlite_store, house, streams.identify(6, "B1", "u2", JOE), played(7, "B1"), played(4, "B1"), now=streams.NOW)
    assert {named.get("external_id") for metric, named in events(sqlite_store) if metric == "Song Played"} == {"u2"}


def test_clicks_can_be_left_out(sqlite_store: Store, tmp_path: Path) -> None:
    deaf = _house_with(tmp_path, "clicked = false\n")
    arrive(sqlite_store, deaf, streams.klaviyo(0, JANE, "KP1"), landed(5, "B1"), played(6, "B1"), now=streams.NOW)
    assert events(sqlite_store) == []


def test_no_token_leaves_with_an_event(sqlite_store: Store, house: House) -> None:
    search = "?colour=red&_kx=tOkEn1234.AbCd12&utm_email=jane%40x.test&kl_pid=KP1&size=m"
    arrive(sqlite_store, house, streams.identify(0, "B1", "u1", JANE), now=streams.NOW)
    arrive(sqlite_store, house, landed(5, "B1", search, properties={"search": search}), now=streams.NOW)
    told = str(bodies(sqlite_store))
    assert "colour=red&size=m" in told
    assert not [one for one in ("tOkEn1234", "utm_email", "KP1") if one in told]


# -- known by a first-party id ----------------------------------------------------------------------------------------


def test_who_comes_back_under_a_new_anonymous_id_is_known_by_a_first_party_id(store: Store, tmp_path: Path) -> None:
    from connector.resources import shipped_mappings

    shipped = (shipped_mappings() / "identity.toml").read_text()
    device = "[types.ga_client_id]\ndevice = true\n\n[types.anonymous_id]"
    (tmp_path / "identity.toml").write_text(shipped.replace("[types.anonymous_id]", device))
    house = _house_with(tmp_path, "[backfill]\nenabled = true\n")
    ga = {"externalIds": [{"id": "GA1.2.3", "type": "ga_client_id", "collection": "users", "encoding": "none"}]}
    arrive(store, house, track("t1", "09:00:00", anonymousId="B2", context=ga))
    assert events(store) == []
    arrive(store, house, identify("i1", "08:00:00", "B1", user_id="u1", email=JANE))
    arrive(store, house, page_with("p1", "08:01:00", "B1", {**ga, "traits": {"email": JANE}}))
    arrive(store, house, track("t2", "10:00:00", anonymousId="B2"))
    assert [named for metric, named in events(store) if metric == "Song Played"] == [{"email": JANE}] * 2


def page_with(message_id: str, at: str, browser: str, context: dict[str, Any]) -> Received:
    return call(message_id, at, type="page", anonymousId=browser, context=context)


# -- whom Klaviyo will not have ---------------------------------------------------------------------------------------


def test_events_of_whom_klaviyo_would_not_have_do_not_leave_for_a_day(store: Store, keeping: House) -> None:
    arrive(store, keeping, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    with store.writing() as tx:
        tx.exec_driver_sql("update mirrored set refused = true")
    arrive(store, keeping, track("t1", "10:01:00", userId="u1"))
    assert events(store) == []
    with store.reading() as tx:
        said = tx.exec_driver_sql("select reason from messages where message_id = 't1'").scalar_one()
    assert said == (
        "nothing to link; not for Klaviyo: it refused their profile, as the dead letters say; tried again after a day"
    )
    arrive(store, keeping, track("t2", "10:02:00", userId="u1"), now=NOW + DAY)
    assert events(store) == [("Song Played", {"email": JANE, "external_id": "u1"})]
    assert len(profiles(store)) == 2, "and their profile goes before it"


def test_an_event_leaves_behind_the_profile_that_it_belongs_to(store: Store, keeping: House) -> None:
    arrive(store, keeping, track("t0", "09:00:00", anonymousId="B1"))
    arrive(store, keeping, identify("i1", "10:00:00", "B1", user_id="u1", email=JANE))
    arrive(store, keeping, track("t1", "10:01:00", userId="u1"))
    with store.reading() as tx:
        user = tx.exec_driver_sql("select id from identifiers where value = 'u1'").scalar_one()
        rows_of = tx.exec_driver_sql("select message_id, subject_id from outbox order by message_id").all()
    assert [tuple(row) for row in rows_of] == [("i1", user), ("t0", user), ("t1", user)]
