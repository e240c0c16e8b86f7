"""Somebody is forgotten: what they do afterwards is a new beginning, and nobody else's data goes with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connector import operate
from connector.messages import Outcome, Received, iso
from connector.resources import shipped_mappings
from connector.store import Store
from tests import streams
from tests.scenes import GONE, JOE, Scene, browser, email, forget, janes, joes, remains, traces, user
from tests.streams import NOW, at, call, customerio, identify, md5, page, sha256, sourced

# -- what comes after -------------------------------------------------------------------------------------------------


def test_a_sign_up_after_it_starts_a_new_profile_without_history(store: Store) -> None:
    scene = Scene(store)
    scene.arrives(*janes(), *joes(), forget(email(GONE)))
    event = sourced(1_005, GONE)
    again = [identify(1_001, "jane-browser", "jane-user-77", GONE), event]
    scene.arrives(*again)
    remains(scene, *joes(), *again)
    assert scene.visitor(event) == ("jane-user-77", "jane-browser", GONE, False)
    told = scene.profile(email(GONE))
    assert told is not None
    assert [one["first_at"] for one in told["identifiers"]] == [iso(at(1_001))] * 2
    assert [one["message_id"] for one in told["timeline"]] == [one.message_id for one in reversed(again)]
    assert told["traits"] == {"email": GONE}


def test_what_came_after_it_before_it_was_asked_stays(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = sourced(1_005, GONE)
    again = [identify(1_001, "jane-browser", "jane-user-77", GONE), event]
    scene.arrives(*janes()[:-1], *again, *joes(), forget(email(GONE)))
    remains(scene, *joes(), *again)
    assert scene.visitor(event) == ("jane-user-77", "jane-browser", GONE, False)
    told = scene.profile(email(GONE))
    assert told is not None
    assert [one["first_at"] for one in told["identifiers"]] == [iso(at(1_001))] * 2
    assert [one["message_id"] for one in told["timeline"]] == [one.message_id for one in reversed(again)]


@pytest.mark.parametrize("digest", [md5, sha256])
def test_a_hash_of_hers_met_after_it_has_no_address_any_more(sqlite_store: Store, digest: Callable[[str], str]) -> None:
    scene = Scene(sqlite_store)
    event = sourced(1_005, digest(GONE))
    scene.arrives(*janes(), *joes(), event, forget(email(GONE)))
    remains(scene, *joes(), event)
    assert scene.visitor(event) == (None, None, None, False)
    again = identify(1_010, "jane-browser", "jane-user-77", GONE)
    scene.arrives(again)
    remains(scene, *joes(), event, again)
    assert scene.visitor(event) == ("jane-user-77", "jane-browser", GONE, False)


@pytest.mark.parametrize("minutes", [-100, 2, 5, 8])
def test_of_a_history_only_what_came_after_the_time_is_left(sqlite_store: Store, minutes: int) -> None:
    scene = Scene(sqlite_store)
    history = janes()[:-1]
    scene.arrives(*history, *joes(), operate.forget(NOW, user("jane-user-77"), at=at(minutes)))
    remains(scene, *history[minutes + 1 if minutes > 0 else 0 :], *joes())
    assert [scene.outcome(one) == Outcome.FORGOTTEN for one in history] == [n <= minutes for n in range(len(history))]


def test_forgotten_a_second_time_the_new_history_goes_too(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(*janes(), *joes(), forget(email(GONE)))
    scene.arrives(identify(1_001, "jane-browser", "jane-user-77", GONE), sourced(1_005, GONE))
    scene.arrives(operate.forget(NOW, email(GONE), at=at(2_000)))
    assert traces(scene) == set()
    remains(scene, *joes())


def test_a_delete_of_somebody_never_seen_is_a_tombstone_and_nothing_else(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    act, late = delete(1_000, full=False), page(5, "jane-browser", "jane-user-77")
    scene.arrives(*joes(), act, late)
    assert [scene.outcome(one) for one in (act, late)] == [Outcome.FORGOTTEN] * 2
    remains(scene, *joes())


def test_suppressed_nothing_of_hers_is_ever_taken_in_again(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(*janes(), *joes(), forget(email(GONE), suppress=True))
    again = [identify(1_001, "jane-browser", "jane-user-77", GONE), sourced(1_005, GONE), page(9_000, "jane-browser")]
    scene.arrives(*again)
    assert [scene.outcome(one) for one in again] == [Outcome.FORGOTTEN] * 3
    assert traces(scene) == set()
    remains(scene, *joes())


def test_the_later_of_two_forgettings_holds_and_a_suppression_for_ever(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(operate.forget(NOW, email(GONE), at=at(50)), operate.forget(NOW, email(GONE), at=at(20)))
    between, after = identify(30, "b", email=GONE), identify(60, "b", email=GONE)
    scene.arrives(between, after)
    assert [scene.outcome(one) for one in (between, after)] == [Outcome.FORGOTTEN, Outcome.LEARNED]
    scene.arrives(operate.forget(NOW, email(GONE), suppress=True), operate.forget(NOW, email(GONE), at=at(1)))
    last = identify(9_000, "b", email=GONE)
    scene.arrives(last)
    assert scene.outcome(last) == Outcome.FORGOTTEN


# -- nobody else's data -----------------------------------------------------------------------------------------------


def test_on_a_shared_browser_only_her_turns_go(store: Store) -> None:
    scene = Scene(store)
    hers = [identify(0, "shared", "jane-user-77", GONE), page(1, "shared"), page(20, "shared", "jane-user-77")]
    his_event = sourced(15, JOE)
    his = [
        identify(10, "shared", "joe", JOE),
        call(11, type="identify", anonymousId="shared", traits={"a": 1}),
        his_event,
    ]
    scene.arrives(*hers, *his, page(21, "shared"), forget(email(GONE)))
    assert traces(scene) == set()
    remains(scene, *his)
    assert scene.visitor(his_event) == ("joe", "shared", JOE, False)
    told = scene.profile(user("joe"))
    assert told is not None
    assert {one["message_id"] for one in told["timeline"]} == {one.message_id for one in his}


def test_of_an_address_that_changed_hands_the_other_owner_keeps_their_part(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    hers = [identify(0, "jane-browser", "jane-user-77", "office@x.test"), sourced(5, "office@x.test")]
    his = [identify(10, "joe-browser", "joe", "office@x.test"), sourced(15, "office@x.test")]
    scene.arrives(*hers, *his)
    assert scene.refused() == {("joe", "office@x.test", "declared", "user_id")}
    scene.arrives(forget(user("jane-user-77")))
    assert traces(scene) == set()
    assert scene.visitor(his[1]) == ("joe", "joe-browser", "office@x.test", False)
    assert scene.refused() == set()
    assert frozenset({"joe", "office@x.test"}) in scene.people()


def test_an_address_that_two_had_in_turns_is_erased_and_neither_of_them(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(identify(0, "joe-browser", "joe", GONE), identify(10, "jane-browser", "jane-user-77", GONE))
    scene.arrives(forget(email(GONE)))
    assert scene.people() == {frozenset({"joe"}), frozenset({"jane-user-77"})}
    assert GONE not in scene.text()
    assert scene.traits(user("joe")) == {}


def test_somebody_who_stood_beside_her_in_one_mail_keeps_what_is_theirs(sqlite_store: Store) -> None:
    """The mail was hers, sent to a friend's address: the mail goes, the friend stays."""
    scene = Scene(sqlite_store)
    mail = customerio(5, "friend@x.test", GONE, "cio-jane", "jane-user-77")
    friends = [identify(0, "friend-browser", email="friend@x.test"), sourced(9, "friend@x.test")]
    scene.arrives(identify(1, "jane-browser", "jane-user-77", GONE), mail, *friends, forget(email(GONE)))
    assert traces(scene, "cio-jane") == set()
    remains(scene, *friends)
    told = scene.profile(email("friend@x.test"))
    assert told is not None
    assert {one["message_id"] for one in told["timeline"]} == {one.message_id for one in friends}


def test_a_hub_she_was_one_of_loses_her_and_may_be_somebodys_again(sqlite_store: Store) -> None:
    text = (shipped_mappings() / "identity.toml").read_text().replace("hub_limit = 20", "hub_limit = 2")
    scene = Scene(sqlite_store, streams.house((), (), (("identity.toml", text),)))
    his = [page(1, "kiosk", "joe"), identify(2, "kiosk", "ann", "ann@x.test")]
    scene.arrives(page(0, "kiosk", "jane-user-77"), *his)
    assert scene.hubs() == [("kiosk", 3, 2)] or scene.hubs() == [("kiosk", 4, 2)]
    scene.arrives(forget(user("jane-user-77")))
    assert traces(scene) == set()
    remains(scene, *his)


# -- Segment's delete -------------------------------------------------------------------------------------------------


def delete(minutes: float, *, full: bool, authenticated: bool = True) -> Received:
    """Classic Segment's form, and the fuller one with arrays where objects belong."""
    more: dict[str, Any] = {"channel": "server", "projectId": "p", "context": [], "integrations": []} if full else {}
    name = "delete-1" if full else None
    one = call(minutes, type="delete", userId="jane-user-77", messageId=name, **more)
    return Received(one.source, one.message_id, one.body, one.received_at, authenticated)


@pytest.mark.parametrize("full", [False, True])
def test_segments_delete_forgets_the_whole_person(store: Store, full: bool) -> None:
    scene = Scene(store)
    act = delete(1_000, full=full)
    scene.arrives(*janes()[:-1], *joes(), act)
    assert scene.outcome(act) == Outcome.FORGOTTEN
    assert traces(scene) == set()
    scene.arrives(*janes(1)[:-1])
    remains(scene, *joes())
    again = identify(1_001, "jane-browser", "jane-user-77", GONE)
    scene.arrives(again)
    remains(scene, *joes(), again)


def test_a_delete_of_every_affected_source_is_one_forgetting(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(*janes()[:-1], *joes(), *(delete(1_000 + n, full=False) for n in range(3)))
    assert traces(scene) == set()
    remains(scene, *joes())


def test_a_delete_and_what_it_deletes_in_one_batch(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    batch = [delete(1_000, full=False), *janes()[:-1], *joes()]
    streams.feed(sqlite_store, *batch)
    assert traces(scene) == set()
    remains(scene, *joes())


def test_a_delete_that_nothing_vouches_for_is_put_aside(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    act = delete(1_000, full=False, authenticated=False)
    scene.arrives(*joes(), identify(1, "jane-browser", "jane-user-77", GONE), act)
    assert scene.outcome(act) == Outcome.QUARANTINED
    assert scene.owner(browser("jane-browser"), 2) == {"jane-user-77", GONE}
