"""Visitors who refuse: from that time on nothing of theirs is kept, taught or stitched, whichever arrived first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from connector import operate
from connector.house import House
from connector.messages import Outcome, Received
from connector.resources import shipped_mappings
from connector.store import Store
from connector.tables import inbox
from tests import streams
from tests.scenes import JANE, JOE, Scene, browser, email, user
from tests.streams import NOW, call, identify, klaviyo, left, page, sourced

SHIPPED = (shipped_mappings() / "identity.toml").read_text()
FLAGS = '["properties.__kla_off", "context.traits.opted_out"]'
Arrange = Callable[[list[Received]], list[Received]]
ORDERS = pytest.mark.parametrize("order", [list, lambda all_of: all_of[::-1]], ids=["as it happened", "backwards"])


def asking(required: str = '["analytics"]') -> House:
    text = SHIPPED.replace("required = []", f"required = {required}").replace("opt_out = []", f"opt_out = {FLAGS}")
    return streams.house((), (), (("identity.toml", text),))


def chosen(minutes: float, anonymous: str | None, who: str | None, address: str | None, **granted: bool) -> Received:
    return identify(minutes, anonymous, who, address, context={"consent": {"categoryPreferences": granted}})


def kept(scene: Scene) -> set[str]:
    """The messages whose bodies are still there."""
    with scene.store.reading() as tx:
        return set(tx.scalars(sa.select(inbox.c.message_id).where(inbox.c.body != "")))


def test_later_sightings_do_not_count_and_earlier_ones_do(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, asking())
    before, after = sourced(5, JANE), sourced(50, JANE)
    scene.happens(
        identify(0, "B1", "u1", JANE), chosen(10, "B1", "u1", None, analytics=False),
        identify(20, "B2", "u1", "new@x.test"), klaviyo(21, "new@x.test", "P"), before, after,
    )  # fmt: skip
    assert scene.people() == {frozenset({"u1", JANE}), frozenset({"new@x.test", "P"})}
    assert scene.owner(browser("B2"), 30) == set()
    assert scene.visitor(before) == ("u1", "B1", JANE, False)
    assert scene.visitor(after) == (None, None, None, False)


@ORDERS
def test_bodies_from_the_refusal_on_are_removed_and_the_log_says_so(store: Store, order: Arrange) -> None:
    scene = Scene(store, asking())
    before, refusal = identify(0, "B1", "u1", JANE), chosen(10, "B1", "u1", JANE, analytics=False)
    later, hers, his = page(20, "B1", "u1"), sourced(30, None, "u1", JANE), identify(20, "B2", "u2", JOE)
    scene.arrives(*order([before, refusal, later, hers, his]))
    assert kept(scene) == {before.message_id, his.message_id}
    assert [scene.outcome(one) for one in (before, later, his)] == [Outcome.LEARNED, Outcome.IGNORED, Outcome.LEARNED]
    assert scene.reason(later).startswith("consent was withdrawn")
    assert scene.outcome(hers) == Outcome.IGNORED
    assert scene.reason(hers).startswith("consent was withdrawn")
    assert scene.reason(refusal).startswith("consent was withdrawn")


@ORDERS
def test_an_event_after_a_refusal_never_leaves_and_one_before_it_does(sqlite_store: Store, order: Arrange) -> None:
    scene = Scene(sqlite_store, asking())
    before, after = sourced(5, JANE, messageId="before"), sourced(50, JANE, messageId="after")
    scene.arrives(*order([identify(0, "B1", "u1", JANE), before, chosen(10, "B1", "u1", JANE, analytics=False), after]))
    assert {name: streams.said(body) for name, body in left(sqlite_store).items()} == {"before": ("u1", "B1", JANE)}
    assert scene.outcome(after) == Outcome.IGNORED
    assert scene.reason(after).startswith("consent was withdrawn")


@ORDERS
def test_a_refusal_told_of_one_of_their_names_stops_the_mails_to_another(sqlite_store: Store, order: Arrange) -> None:
    """Two sign-ins later the refusal carries the userId only; the mail carries the address only."""
    scene = Scene(sqlite_store, asking())
    refusal, event = chosen(10, "B1", "u1", None, analytics=False), sourced(30, JANE)
    scene.arrives(*order([identify(0, "B1", "u1", JANE), refusal, event]))
    assert scene.visitor(event) == (None, None, None, False)
    assert left(sqlite_store) == {}
    assert scene.outcome(event) == Outcome.IGNORED
    assert event.message_id not in kept(scene)


@ORDERS
def test_what_has_not_left_yet_when_a_refusal_comes_late_does_not_leave(sqlite_store: Store, order: Arrange) -> None:
    scene = Scene(sqlite_store, asking())
    event, refusal = sourced(30, JANE), chosen(10, "B1", "u1", None, analytics=False)
    scene.arrives(identify(0, "B1", "u1", JANE), *order([refusal, event]))
    assert left(sqlite_store) == {}
    assert scene.outcome(event) == Outcome.IGNORED


@ORDERS
def test_a_held_event_of_somebody_who_refused_is_dropped(store: Store, order: Arrange) -> None:
    scene = Scene(store, asking())
    event, refusal = sourced(50, JANE), chosen(10, "B1", None, JANE, analytics=False)
    other = sourced(50, JOE)
    scene.arrives(*order([event, refusal, other]))
    assert scene.outcome(event) == Outcome.IGNORED
    assert [one for one in scene.leaves() if one[0] != "dropped"] == [("held", None, None, None)]
    assert event.message_id not in kept(scene)
    scene.arrives(identify(60, "B1", "u1", JANE))
    assert left(store) == {}


def test_a_refusal_holds_for_the_whole_person_and_a_merge_keeps_the_strictest(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, asking())
    refusal, event = chosen(10, "phone", "u1", None, analytics=False), sourced(50, JANE)
    scene.happens(refusal, chosen(20, "form", None, JANE, analytics=True), event)
    assert scene.visitor(event) == (None, "form", JANE, False)
    scene.happens(identify(5, None, "u1", JANE))
    assert scene.people() == {frozenset({"u1", JANE})}
    assert scene.visitor(event) == (None, None, None, False)


@ORDERS
def test_what_has_not_left_when_a_merge_brings_a_refusal_does_not_leave(sqlite_store: Store, order: Arrange) -> None:
    scene = Scene(sqlite_store, asking())
    refusal, event = chosen(10, "phone", "u1", None, analytics=False), sourced(50, JANE)
    merge, agreed = identify(5, None, "u1", JANE), chosen(20, "form", None, JANE, analytics=True)
    scene.arrives(refusal, *order([merge, agreed, event]))
    assert left(sqlite_store) == {}
    assert scene.outcome(event) == Outcome.IGNORED


def test_a_grant_lets_what_comes_after_it_count_again(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, asking())
    events = {minutes: sourced(minutes, JANE) for minutes in (5, 15, 25)}
    scene.happens(
        identify(0, "B1", "u1", JANE), chosen(10, "B1", "u1", JANE, analytics=False),
        chosen(20, "B1", "u1", JANE, analytics=True), page(12, "B2", "u1"), page(22, "B3", "u1"), *events.values(),
    )  # fmt: skip
    assert {minutes: scene.visitor(one)[:2] for minutes, one in events.items()} == {
        5: ("u1", "B1"), 15: (None, None), 25: ("u1", "B3"),
    }  # fmt: skip
    assert scene.owner(browser("B2"), 30) == set()


def test_in_a_minute_with_a_refusal_and_a_grant_nothing_counts(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, asking())
    event, later = sourced(10.6, JANE), sourced(11.1, JANE)
    scene.happens(
        identify(0, "B1", "u1", JANE), chosen(10.1, "B1", "u1", JANE, analytics=False),
        chosen(10.5, "B1", "u1", JANE, analytics=True), page(10.7, "B2", "u1"), event, later,
    )  # fmt: skip
    assert scene.owner(browser("B2"), 30) == set()
    assert scene.visitor(event) == (None, None, None, False)
    assert scene.visitor(later) == ("u1", "B1", JANE, False)


@pytest.mark.parametrize("path", ["property", "trait"])
@ORDERS
def test_an_opt_out_flag_stops_it_and_its_being_false_lets_it_go_on(
    sqlite_store: Store, path: str, order: Arrange
) -> None:
    scene = Scene(sqlite_store, asking("[]"))

    def flag(minutes: float, out: bool) -> Received:
        where: dict[str, Any] = {"properties": {"__kla_off": out}}
        if path == "trait":
            where = {"context": {"traits": {"opted_out": out}}}
        return call(minutes, type="track", event="Preferences", anonymousId="B1", userId="u1", **where)

    events = {minutes: sourced(minutes, JANE) for minutes in (5, 15, 25)}
    scene.arrives(*order([identify(0, "B1", "u1", JANE), flag(10, True), flag(20, False), *events.values()]))
    scene.happens()
    assert {minutes: scene.visitor(one)[:2] for minutes, one in events.items()} == {
        5: ("u1", "B1"), 15: (None, None), 25: ("u1", "B1"),
    }  # fmt: skip


@ORDERS
def test_a_refusal_that_another_one_hides_at_first_counts_once_that_is_taken_back(
    sqlite_store: Store, order: Arrange
) -> None:
    scene = Scene(sqlite_store, asking())

    def flagged(minutes: float, out: bool, *whom: str) -> Received:
        return identify(minutes, *whom, context={"traits": {"opted_out": out}})

    event = sourced(5, JANE)
    scene.arrives(
        *order([page(1.5, "B1", "u1"), flagged(1.6, True, "B1", "u1"), flagged(3, False, "B1", "u1", JANE), event])
    )
    scene.happens(chosen(1, "B2", "u1", JOE, analytics=False))
    assert scene.people() == {frozenset({"u1"}), frozenset({JANE}), frozenset({JOE})}
    assert scene.visitor(event) == (None, None, None, False)


def test_categories_that_are_not_required_do_not_stop_anything(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, asking())
    event = sourced(50, JANE)
    scene.happens(chosen(0, "B1", "u1", JANE, ads=False, analytics=True), event)
    assert scene.visitor(event) == ("u1", "B1", JANE, False)
    (body,) = left(sqlite_store).values()
    assert body["context"]["consent"] == {"categoryPreferences": {"ads": False, "analytics": True}}


def test_what_an_email_platform_says_about_consent_is_nobodys_choice(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, asking())
    refused = {"consent": {"categoryPreferences": {"analytics": False}}, "traits": {"opted_out": True}}
    event, other = sourced(10, JANE, context=refused), sourced(50, JANE)
    scene.happens(identify(0, "B1", "u1", JANE), event, other)
    assert scene.visitor(other) == ("u1", "B1", JANE, False)


def test_the_refusal_of_one_on_a_shared_browser_is_not_the_others(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, asking())
    his, hers = sourced(50, JOE), sourced(50, JANE)
    scene.happens(identify(0, "hers", "u1", JANE), chosen(10, None, "u1", JANE, analytics=False))
    scene.happens(identify(20, "hers", "u2", JOE), his, hers)
    assert scene.visitor(his) == ("u2", "hers", JOE, False)
    assert scene.visitor(hers) == (None, None, None, False)


@pytest.mark.parametrize("latest_first", [False, True])
def test_the_last_known_choice_by_event_time_travels_with_the_events(sqlite_store: Store, latest_first: bool) -> None:
    scene = Scene(sqlite_store)
    first, last = chosen(0, "B1", "u1", JANE, ads=True), chosen(90, "B1", "u1", JANE, ads=False, mail=True)
    scene.arrives(*((last, first) if latest_first else (first, last)), sourced(50, JANE))
    (body,) = left(sqlite_store).values()
    assert body["context"]["consent"] == {"categoryPreferences": {"ads": False, "mail": True}}


def test_consent_follows_the_profile_when_it_is_split_and_restored(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.happens(chosen(0, "B1", "u1", None, ads=False), chosen(1, "B2", None, JANE, ads=True))
    scene.happens(identify(2, None, "u1", JANE))
    act = operate.unlink(NOW, left=user("u1"), right=email(JANE))
    events = [sourced(50 + n, JANE, messageId=f"e{n}") for n in range(3)]
    scene.arrives(events[0], act, events[1], operate.restore(NOW + 1, act.message_id), events[2])
    choices = {
        name: body["context"]["consent"]["categoryPreferences"]["ads"] for name, body in left(sqlite_store).items()
    }
    assert choices == {"e0": False, "e1": False, "e2": False}, "all three wait: what has not left is addressed anew"
    assert {name: streams.said(body)[0] for name, body in left(sqlite_store).items()} == {
        "e0": "u1",
        "e1": "u1",
        "e2": "u1",
    }


def test_settings_that_come_to_require_a_consent_read_the_choices_that_were_made_before(sqlite_store: Store) -> None:
    """What was never asked for was not noted; what is required from now on counts from now on."""
    scene = Scene(sqlite_store, asking())
    scene.happens(identify(0, "B1", "u1", JANE), chosen(10, "B1", "u1", JANE, analytics=False))
    loose = Scene(sqlite_store, streams.house(), list(scene.received))
    late = sourced(50, JANE)
    loose.arrives(late)
    assert loose.visitor(late) == ("u1", "B1", JANE, False), "these settings require nothing"
