"""Operators take links back, make them by hand and undo that: identity and what had left follow, and the log tells."""

from __future__ import annotations

import orjson
import pytest

from connector import answers, operate, queue
from connector.messages import Identifier, Outcome, Received
from connector.store import Store
from tests import streams
from tests.scenes import JANE, JOE, Scene, browser, email, klaviyo_profile, user
from tests.streams import NOW, at, customerio, identify, klaviyo, page, said, sourced

LATER = NOW + 60_000


def outgoing(scene: Scene) -> list[tuple[str, str | None, str | None]]:
    return [(status, user_id, anonymous_id) for status, user_id, anonymous_id, _ in scene.leaves()]


# -- taking back ------------------------------------------------------------------------------------------------------


def test_a_link_taken_back_splits_a_person_and_history_follows(store: Store) -> None:
    scene = Scene(store)
    event = sourced(50, JANE)
    scene.happens(identify(0, "B1", "u1", JANE), klaviyo(1, JANE, "P"), event)
    scene.happens(operate.unlink(NOW, left=email(JANE), right=user("u1"), reason="wrong", operator="ann"))
    assert scene.people() == {frozenset({"u1"}), frozenset({JANE, "P"})}
    assert scene.visitor(event) == (None, None, None, False)
    assert scene.owner(browser("B1"), 50) == {"u1"}
    with store.reading() as tx:
        assert streams.counted(tx)["profiles"] == 2


def test_a_pair_taken_back_until_a_time_counts_again_after_it(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    before, after = sourced(5, JANE), sourced(25, JANE)
    scene.happens(identify(0, "B1", email=JANE), identify(20, "B1", email=JANE), before, after)
    act = operate.unlink(NOW, left=email(JANE), right=browser("B1"), until=at(10))
    scene.happens(act)
    assert scene.owner(browser("B1"), 25) == {JANE}
    assert scene.visitor(after) == (None, "B1", JANE, False)
    told = scene.profile(email(JANE))
    assert told is not None
    assert [one["first_at"] for one in told["links"]] == ["2026-09-11T00:20:00.000Z"]


def test_a_pair_taken_back_is_taken_back_for_what_comes_later_too(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.happens(identify(0, None, "u1", JANE), operate.unlink(NOW, left=user("u1"), right=email(JANE)))
    scene.happens(identify(100, "B1", "u1", JANE), klaviyo(101, JANE, "P"))
    assert scene.people() == {frozenset({"u1"}), frozenset({JANE, "P"})}


def test_what_one_message_proved_is_taken_back_and_what_another_proved_of_the_same_stays(store: Store) -> None:
    scene = Scene(store)
    wrong = identify(5, "B1", "u1", JANE, messageId="wrong")
    scene.happens(identify(0, "B1", "u1"), wrong, operate.unlink(NOW, message="segment/wrong"))
    assert scene.people() == {frozenset({"u1"}), frozenset({JANE})}
    assert scene.owner(browser("B1"), 9) == {"u1"}
    scene.happens(identify(20, None, "u1", JANE))
    assert scene.people() == {frozenset({"u1", JANE})}


def test_all_that_one_identifier_proved_is_taken_back(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.happens(identify(0, "B1", "u1", JANE), identify(1, "B2", email=JANE), klaviyo(2, JANE, "P"))
    act = operate.unlink(NOW, identifier=email(JANE))
    scene.happens(act)
    assert scene.people() == {frozenset({"u1"}), frozenset({JANE}), frozenset({"P"})}
    assert [scene.owner(browser(one), 9) for one in ("B1", "B2")] == [{"u1"}, set()]
    scene.happens(operate.restore(LATER, act.message_id))
    assert scene.people() == {frozenset({"u1", JANE, "P"})}
    assert [scene.owner(browser(one), 9) for one in ("B1", "B2")] == [{"u1", JANE, "P"}] * 2


@pytest.mark.parametrize("what", ["pair", "message", "identifier", "until"])
def test_undoing_restores_every_byte(sqlite_store: Store, what: str) -> None:
    scene = Scene(sqlite_store)
    told = identify(0, "B1", "u1", JANE, messageId="told")
    scene.happens(told, klaviyo(1, JANE, "P"), sourced(5, JANE), identify(9, "B1", "u2", JOE))
    acts = {
        "pair": operate.unlink(NOW, left=user("u1"), right=email(JANE)),
        "message": operate.unlink(NOW, message="segment/told"),
        "identifier": operate.unlink(NOW, identifier=user("u1")),
        "until": operate.unlink(NOW, identifier=email(JANE), until=at(0)),
    }
    before = exports(scene)
    scene.happens(acts[what])
    assert exports(scene) != before
    scene.happens(operate.restore(LATER, acts[what].message_id))
    assert exports(scene) == before


def exports(scene: Scene) -> tuple[object, ...]:
    with scene.store.reading() as tx:
        kept = {name: n for name, n in streams.counted(tx).items() if name in ("profiles", "links", "refused_links")}
        profiles, links = answers.export_profiles(tx, scene.house), answers.export_links(tx, scene.house)
        return list(profiles), list(links), streams.known(tx, scene.house), kept


def test_taking_back_an_unknown_link_does_nothing_until_it_is_known(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.happens(operate.unlink(NOW, left=user("u1"), right=email(JANE)))
    assert scene.people() == set(), "an order to forget a link teaches no identifier"
    scene.happens(identify(0, "B1", "u1", JANE))
    assert scene.people() == {frozenset({"u1"}), frozenset({JANE})}


def test_a_hash_that_was_taken_back_from_its_address_is_nobodys(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    digest = streams.md5(JANE)
    event = sourced(5, digest)
    scene.happens(identify(0, "B1", email=JANE), event)
    assert scene.visitor(event) == (None, "B1", JANE, False)
    scene.happens(operate.unlink(NOW, left=email(JANE), right=browser(digest)))
    assert scene.visitor(event) == (None, None, None, False)


# -- by hand ----------------------------------------------------------------------------------------------------------


def test_a_browser_linked_by_hand_is_the_persons_from_then_on(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    before, after = sourced(5, JANE), sourced(50, JANE)
    scene.happens(identify(0, "B1", "u2"), identify(0, None, "u1", JANE), before, after)
    scene.happens(operate.link(at(20), browser("B1"), user("u1"), reason="it was handed over"))
    assert [scene.owner(browser("B1"), minutes) for minutes in (5, 50)] == [{"u2"}, {"u1", JANE}]
    assert scene.visitor(before) == ("u1", None, JANE, False)
    assert scene.visitor(after) == ("u1", "B1", JANE, False)


def test_a_link_made_by_hand_after_it_was_taken_back_stands_and_one_made_before_does_not(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    told, linked = identify(0, None, "u1", JANE), operate.link(NOW, user("u1"), email(JANE))
    scene.happens(
        told, operate.link(at(5), user("u1"), email(JANE)), operate.unlink(at(60), left=user("u1"), right=email(JANE))
    )
    assert scene.people() == {frozenset({"u1"}), frozenset({JANE})}
    scene.happens(linked)
    assert scene.people() == {frozenset({"u1", JANE})}


def test_a_user_id_that_only_an_operator_named_is_not_emitted(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = sourced(5, JANE)
    scene.happens(operate.link(NOW, user("typo"), email(JANE)), event)
    assert scene.people() == {frozenset({"typo", JANE})}
    assert scene.visitor(event) == (None, None, None, False)
    scene.happens(page(9, "B1", "typo"))
    assert scene.visitor(event) == ("typo", "B1", JANE, False)


def test_two_user_ids_kept_apart_by_a_manual_link_are_told_what_would_have_to_change(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.happens(page(0, None, "u1"), page(0, None, "u2"), operate.link(NOW, user("u1"), user("u2")))
    told = scene.apart("u1", "u2")
    assert (told["joined"], told["kept_apart_by"][0]["link"]["kind"]) == (False, "manual")


def test_two_browsers_linked_by_hand_join_nobody(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(identify(0, "B1", "u1", JANE), identify(1, "B2", "u2", JOE))
    scene.arrives(operate.link(NOW, browser("B1"), browser("B2")), operate.link(NOW, user("u1"), user("u1")))
    assert scene.people() == {frozenset({"u1", JANE}), frozenset({"u2", JOE})}
    assert [scene.owner(browser(one), 50) for one in ("B1", "B2")] == [{"u1", JANE}, {"u2", JOE}]


def test_undoing_what_was_never_done_changes_nothing_and_is_written_down(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    act = operate.restore(NOW, "unlink-of-nobody")
    scene.happens(identify(0, "B1", "u1", JANE), act)
    assert scene.people() == {frozenset({"u1", JANE})}
    assert "no profile and no event changed" in scene.reason(act)


# -- what had left ----------------------------------------------------------------------------------------------------


def history() -> tuple[Received, Received, Received]:
    """The address of Joe told of u1 by mistake, and an event that follows from it."""
    return identify(0, "B1", "u1", JOE), identify(1, "B2", "u2"), sourced(50, JOE, messageId="e1")


def test_a_link_made_by_hand_releases_what_was_held(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.happens(identify(0, "B1", "u1", JANE), sourced(50, JOE))
    assert scene.leaves() == [("held", None, None, None)]
    scene.happens(operate.link(NOW, user("u1"), email(JOE)))
    assert scene.leaves() == [("pending", "u1", "B1", JOE)]


def test_a_link_taken_back_settles_an_event_that_was_held_between_two_people(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = sourced(60, None, "u2", JANE)
    scene.happens(page(0, "B1", "u1"), page(0, "B2", "u2"), customerio(10, JANE, JANE, "cio1", "u1"), event)
    assert scene.visitor(event) == (None, None, None, True)
    assert scene.leaves()[-1] == ("held", None, None, None)
    scene.happens(operate.unlink(NOW, left=email(JANE), right=Identifier("customerio_profile_id", "cio1")))
    scene.happens(operate.unlink(NOW, left=email(JANE), right=Identifier("customerio_user_id", "u1")))
    assert scene.visitor(event) == ("u2", "B2", JANE, False)
    assert scene.leaves()[-1] == ("pending", "u2", "B2", JANE)


def test_a_delivery_that_has_not_left_is_addressed_anew(store: Store) -> None:
    scene = Scene(store)
    mistake, other, event = history()
    scene.happens(mistake, other, event)
    assert outgoing(scene) == [("pending", "u1", "B1")]
    scene.happens(identify(60, "B2", "u2", JOE))
    act = operate.unlink(NOW, left=user("u1"), right=email(JOE), reason="wrong")
    scene.happens(act)
    assert outgoing(scene) == [("pending", "u2", "B2")]
    assert scene.message(event)["decision"]["user_id"] == "u2"
    assert scene.outcome(event) == Outcome.STITCHED
    told = scene.message(act)
    assert "1 addressed anew" in told["decision"]["reason"]
    assert told["message"]["notes"] == [
        "addressed anew: segment/e1, from userId u1 with anonymousId B1 to userId u2 with anonymousId B2"
    ]


def test_a_delivery_that_has_not_left_and_whose_person_is_gone_waits_again(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    mistake, other, event = history()
    scene.happens(mistake, other, event, operate.unlink(NOW, left=user("u1"), right=email(JOE)))
    assert scene.leaves() == [("held", None, None, None)]
    assert scene.outcome(event) == Outcome.HELD
    scene.happens(identify(60, "B2", "u2", JOE))
    assert scene.leaves() == [("pending", "u2", "B2", JOE)]
    assert scene.outcome(event) == Outcome.STITCHED_LATE


def test_a_delivery_that_is_under_way_stays_as_it_is_and_is_listed(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    mistake, other, event = history()
    scene.happens(mistake, other, event, identify(60, "B2", "u2", JOE))
    with sqlite_store.writing() as tx:
        (claimed,) = queue.claim(tx, "segment", limit=9, now=NOW, claimer="c", for_ms=60_000)
    act = operate.unlink(NOW, left=user("u1"), right=email(JOE))
    scene.arrives(act)
    assert [body["userId"] for _, body in scene.deliveries() if body] == ["u1"]
    assert orjson.loads(claimed.body) == scene.deliveries()[0][1]
    assert "1 reattributed" in scene.reason(act)


@pytest.mark.parametrize("status", ["delivered", "dead"])
def test_what_has_left_is_listed_as_reattributed_and_stays_as_it_was_sent(sqlite_store: Store, status: str) -> None:
    scene = Scene(sqlite_store)
    mistake, other, event = history()
    scene.happens(mistake, other, event)
    sent = scene.deliveries()[0][1]
    scene.settle(status, maybe_there=True)
    act = operate.unlink(NOW, left=user("u1"), right=email(JOE))
    scene.happens(identify(60, "B2", "u2", JOE), act)
    assert scene.deliveries() == [(status, sent)]
    assert "1 reattributed" in scene.reason(act)
    assert scene.message(event)["since_then"] == "reattributed"
    assert scene.visitor(event) == ("u2", "B2", JOE, False)


def test_a_dead_letter_that_was_surely_refused_is_addressed_anew(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    mistake, other, event = history()
    scene.happens(mistake, other, event)
    scene.settle("dead")
    scene.happens(identify(60, "B2", "u2", JOE), operate.unlink(NOW, left=user("u1"), right=email(JOE)))
    assert scene.leaves() == [("dead", "u2", "B2", JOE)]
    assert scene.message(event)["decision"]["user_id"] == "u2", "what would leave and what the log says are one"


def test_a_dead_letter_whose_person_is_gone_never_leaves_without_any_id(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    mistake, other, event = history()
    scene.happens(mistake, other, event)
    scene.settle("dead")
    scene.happens(operate.unlink(NOW, left=user("u1"), right=email(JOE)))
    scene.arrives(operate.retry_dead(LATER))
    assert not [one for one in scene.leaves() if one[0] == "pending" and one[1:3] == (None, None)]


def test_a_corrected_copy_leaves_once_under_an_id_that_names_what_it_corrects(store: Store) -> None:
    scene = Scene(store)
    mistake, other, event = history()
    scene.happens(mistake, other, event)
    sent = scene.deliveries()[0][1]
    assert sent is not None
    scene.settle("delivered")
    scene.happens(identify(60, "B2", "u2", JOE))
    act = operate.unlink(NOW, left=user("u1"), right=email(JOE), correct=True)
    scene.arrives(act)
    (_, first), (status, copy) = scene.deliveries()
    assert copy is not None
    assert (first, status, said(copy)) == (sent, "pending", ("u2", "B2", JOE))
    assert copy["messageId"] not in ("e1", sent["messageId"])
    assert copy["context"]["connector"] == {**sent["context"]["connector"], "corrects": sent["messageId"]}
    assert {key: copy[key] for key in ("event", "timestamp", "properties")} == {
        key: sent[key] for key in ("event", "timestamp", "properties")
    }
    assert "1 corrected" in scene.reason(act)
    scene.arrives(act)
    assert len(scene.deliveries()) == 2, "the same act again changes nothing"


def test_the_id_of_a_corrected_copy_is_the_same_wherever_it_is_made(sqlite_store: Store, postgres_store: Store) -> None:
    names = []
    for store in (sqlite_store, postgres_store):
        scene = Scene(store)
        mistake, other, event = history()
        scene.happens(mistake, other, event)
        scene.settle("delivered")
        unlink = operate.unlink(NOW, left=user("u1"), right=email(JOE), correct=True)
        scene.arrives(identify(60, "B2", "u2", JOE), unlink)
        names.append([body["messageId"] for _, body in scene.deliveries() if body])
    assert names[0] == names[1]
    assert len(set(names[0])) == 2


def test_a_correction_that_is_taken_back_is_corrected_back(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    mistake, other, event = history()
    scene.happens(mistake, other, event, identify(60, "B2", "u2", JOE))
    scene.settle("delivered")
    act = operate.unlink(NOW, left=user("u1"), right=email(JOE), correct=True)
    scene.arrives(act)
    scene.settle("delivered")
    scene.arrives(operate.restore(LATER, act.message_id, correct=True))
    assert outgoing(scene)[:2] == [("delivered", "u1", "B1"), ("delivered", "u2", "B2")]
    assert outgoing(scene)[2:] == [("pending", "u1", "B1")], "downstream believes the copy: it needs correcting too"


def test_nothing_is_corrected_into_nobody(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    mistake, other, event = history()
    scene.happens(mistake, other, event)
    scene.settle("delivered")
    act = operate.unlink(NOW, left=user("u1"), right=email(JOE), correct=True)
    scene.arrives(act)
    assert outgoing(scene) == [("delivered", "u1", "B1")]
    assert "1 reattributed" in scene.reason(act)


def test_an_act_is_in_the_log_with_reason_and_operator_and_never_quotes_an_address(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    act = operate.unlink(NOW, left=user("u1"), right=email(JANE), reason="she asked", operator="ann")
    scene.happens(identify(0, "B1", "u1", JANE), act)
    assert scene.reason(act) == (
        "took back the link of user_id u1 and email: profiles 1 before, 2 after; no event changed; by ann;"
        " reason given: she asked"
    )
    told = scene.profile(klaviyo_profile("P"))
    assert told is None
