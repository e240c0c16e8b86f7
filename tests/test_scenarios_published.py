"""What published systems got wrong, each demand of their users as a scenario of its own."""

from __future__ import annotations

from collections import Counter

import pytest

from connector import answers, operate
from connector.messages import Identifier, Outcome, Received
from connector.store import Store
from tests import streams
from tests.scenes import JANE, JOE, Scene, browser, email, user, values
from tests.streams import NOW, at, customerio, identify, klaviyo, known, page, sourced


def landing(minutes: float, anonymous: str, query: str) -> Received:
    return page(minutes, anonymous, context={"page": {"url": "https://shop.test/sale", "search": f"?{query}"}})


def test_a_visitor_known_from_a_click_in_a_mail_wins_over_an_old_anonymous_cookie(store: Store) -> None:
    """Row 1."""
    scene = Scene(store)
    opened = klaviyo(10_000, JANE, "P")
    scene.happens(page(0, "old-cookie"), page(5_000, "old-cookie"), klaviyo(1, JANE, "P"), opened)
    assert scene.visitor(opened) == (None, None, None, False)
    scene.happens(landing(9_000, "old-cookie", "kl_pid=P"))
    assert scene.visitor(opened) == (None, "old-cookie", None, False), "alone: a click proves no address"
    assert ("pending", None, "old-cookie", None) in scene.leaves()


def test_a_click_in_a_mail_does_not_win_over_the_person_who_signed_in_on_that_browser(sqlite_store: Store) -> None:
    """Row 1, its other side."""
    scene = Scene(sqlite_store)
    opened = klaviyo(100, JANE, "P")
    scene.happens(identify(0, "B1", "u2", JOE), klaviyo(1, JANE, "P"), landing(50, "B1", "kl_pid=P"), opened)
    assert scene.visitor(opened) == (None, None, None, False)
    assert scene.owner(browser("B1"), 100) == {"u2", JOE}


def test_two_known_people_on_a_shared_browser_are_never_merged(sqlite_store: Store) -> None:
    """Row 2."""
    scene = Scene(sqlite_store)
    jane, joe = identify(0, "B1", "u1", JANE), identify(10, "B1", "u2", JOE)
    scene.happens(jane, joe, identify(20, "B1", "u1"), page(30, "B1", "u2"))
    assert scene.people() == {frozenset({"u1", JANE}), frozenset({"u2", JOE})}
    assert scene.refused() == set(), "there was nothing to refuse: a browser joins nobody"
    owners = [scene.owner(browser("B1"), minutes) for minutes in (0, 15, 25, 99)]
    assert owners == [{"u1", JANE}, {"u2", JOE}, {"u1", JANE}, {"u2", JOE}]


def test_a_merge_is_undone_and_only_the_wrong_ids_leave_the_mega_person(store: Store) -> None:
    """Row 3."""
    scene = Scene(store)
    right = [identify(0, "B1", "u1", JANE), klaviyo(1, JANE, "P")]
    scene.happens(*right, identify(5, None, "u1", "office@y.test"), klaviyo(6, "office@y.test", "P-office"))
    assert scene.people() == {frozenset({"u1", JANE, "P", "office@y.test", "P-office"})}
    taken = operate.unlink(NOW, left=user("u1"), right=email("office@y.test"), reason="a shared mailbox")
    scene.happens(taken)
    assert scene.people() == {frozenset({"u1", JANE, "P"}), frozenset({"office@y.test", "P-office"})}
    scene.happens(operate.restore(NOW + 1, taken.message_id))
    assert scene.people() == {frozenset({"u1", JANE, "P", "office@y.test", "P-office"})}


def test_two_are_merged_by_hand_and_history_follows(store: Store) -> None:
    """Row 4."""
    scene = Scene(store)
    event = sourced(50, "old@x.test")
    scene.happens(identify(0, "B1", "u1", JANE), identify(1, "B2", email="old@x.test"), event)
    assert scene.visitor(event) == (None, "B2", "old@x.test", False)
    scene.happens(operate.link(NOW, user("u1"), email("old@x.test"), reason="she rang"))
    assert scene.people() == {frozenset({"u1", JANE, "old@x.test"})}
    assert scene.visitor(event) == ("u1", "B1", "old@x.test", False), "B2 was never seen with u1 itself"


def test_merging_two_known_people_by_hand_is_refused_and_says_so(sqlite_store: Store) -> None:
    """Row 4: safely."""
    scene = Scene(sqlite_store)
    act = operate.link(NOW, user("u1"), user("u2"), reason="a mistake")
    scene.happens(identify(0, None, "u1", JANE), identify(1, None, "u2", JOE), act)
    assert scene.people() == {frozenset({"u1", JANE}), frozenset({"u2", JOE})}
    assert scene.refused() == {("u1", "u2", "manual", "user_id")}


def test_the_answer_why_two_were_not_merged_names_link_limit_and_both_identities(sqlite_store: Store) -> None:
    """Row 5."""
    scene = Scene(sqlite_store)
    scene.happens(identify(0, None, "u1", JANE), identify(10, None, "u2", JANE))
    told = scene.apart("u1", "u2")
    (because,) = told["kept_apart_by"]
    assert told["joined"] is False
    assert (because["link"]["left"], because["link"]["right"], because["link"]["kind"]) == (
        {"type": "user_id", "value": "u2"},
        {"type": "email", "value": JANE},
        "declared",
    )
    assert (because["type"], because["limit"]) == ("user_id", 1)
    assert values(Identifier(**one) for one in because["identities"]) == {"u1", "u2"}
    assert told["would_change"] != []


def test_stitching_that_fails_silently_is_a_number_that_everybody_sees(sqlite_store: Store) -> None:
    """Row 6."""
    scene = Scene(sqlite_store)
    scene.happens(*(sourced(n, f"p{n}@x.test") for n in range(4)), identify(9, "B1", "u1", JANE))
    with sqlite_store.reading() as tx:
        assert answers.stats(tx)["orphan_rate"] == {"before": 1.0, "after": 1.0}
    scene.happens(*(identify(20, f"B{n}", email=f"p{n}@x.test") for n in range(3)))
    with sqlite_store.reading() as tx:
        assert answers.stats(tx)["orphan_rate"] == {"before": 1.0, "after": 0.25}


def test_held_events_are_sent_again_once_the_identity_is_known_with_their_own_time(sqlite_store: Store) -> None:
    """Row 7."""
    scene = Scene(sqlite_store)
    scene.happens(sourced(2, JANE, messageId="later"), sourced(1, JANE, messageId="earlier"))
    assert scene.leaves() == [("held", None, None, None)] * 2
    scene.happens(identify(90, "B1", "u1", JANE))
    sent = streams.left(sqlite_store)
    assert {name: streams.said(body) for name, body in sent.items()} == {
        "earlier": ("u1", "B1", JANE),
        "later": ("u1", "B1", JANE),
    }
    assert {name: body["timestamp"] for name, body in sent.items()} == {
        "earlier": "2026-09-11T00:01:00.000Z",
        "later": "2026-09-11T00:02:00.000Z",
    }


def test_traits_told_before_the_sign_up_are_the_persons_after_it(sqlite_store: Store) -> None:
    """Row 8."""
    scene = Scene(sqlite_store)
    scene.happens(
        _traits(0, "B1", None, city="Bergen"),
        _traits(1, "B1", None, email=JANE, first_name="Jane"),
        _traits(2, "B1", "u1", email=JANE, plan="pro"),
    )
    assert scene.traits(user("u1")) == {"city": "Bergen", "email": JANE, "first_name": "Jane", "plan": "pro"}


def _traits(minutes: float, anonymous: str | None, who: str | None, **traits: object) -> Received:
    return streams.call(minutes, type="identify", anonymousId=anonymous, userId=who, traits=traits)


@pytest.mark.parametrize("field", ["email", "phone"])
def test_any_identifying_field_joins_and_others_do_not(sqlite_store: Store, field: str) -> None:
    """Row 8: any identifying field triggers, but not too eagerly."""
    scene = Scene(sqlite_store)
    value = {"email": JANE, "phone": "+4712345678"}[field]
    scene.happens(
        _traits(0, "B1", None, **{field: value}),
        _traits(1, None, "u1", **{field: value}),
        _traits(2, "B2", None, name="Jane", company="X"),
        _traits(3, None, "u2", name="Jane", company="X"),
    )
    assert scene.people() == {frozenset({"u1", value}), frozenset({"u2"})}
    assert scene.owner(browser("B1"), 9) == {"u1", value}
    assert scene.owner(browser("B2"), 9) == set()


def test_one_device_is_linked_later_and_more_than_once(sqlite_store: Store) -> None:
    """Row 9."""
    scene = Scene(sqlite_store)
    event = sourced(30, JANE)
    scene.happens(page(0, "B1"), identify(10, "B1", email=JANE), event)
    assert scene.visitor(event) == (None, "B1", JANE, False)
    scene.happens(identify(40, "B1", "u1"), identify(50, None, "u1", JANE), identify(60, "B1", "u1", "new@x.test"))
    assert scene.people() == {frozenset({"u1", JANE, "new@x.test"})}
    assert scene.owner(browser("B1"), 5) == {"u1", JANE, "new@x.test"}
    assert scene.visitor(event) == ("u1", "B1", JANE, False)


def test_the_result_is_the_same_in_one_batch_one_by_one_and_with_repeats(
    sqlite_store: Store, postgres_store: Store
) -> None:
    """Row 10."""
    history = [
        identify(30, "B1", "u2", JANE),
        sourced(20, JANE),
        klaviyo(5, JANE, "P"),
        identify(0, "B1", "u1", JANE),
        customerio(40, JANE, JANE, "cio1", "u2"),
        page(10, "B2", "u1"),
        sourced(15, streams.md5(JANE)),
    ]
    one_by_one = Scene(sqlite_store)
    one_by_one.happens(*history)
    streams.feed(postgres_store, *history, *history[::-1], *history)
    with sqlite_store.reading() as tx, postgres_store.reading() as other:
        assert known(other, one_by_one.house) == known(tx, one_by_one.house)
        assert answers.digest(other, one_by_one.house) == answers.digest(tx, one_by_one.house)


def test_a_merge_moves_history_and_neither_loses_nor_doubles_anything(store: Store) -> None:
    """Row 16."""
    scene = Scene(store)
    before = [page(0, "B1"), identify(1, "B1", email=JANE), sourced(2, JANE), page(3, "B1")]
    account = [identify(4, "B2", "u1"), page(5, "B2", "u1"), page(6, "B2")]
    merge = identify(7, "B1", "u1", JANE)
    scene.happens(*before, *account)
    parts = [scene.profile(one) for one in (email(JANE), user("u1"))]
    assert [_timeline(one) for one in parts] == [_names(before), _names(account)]
    scene.happens(merge)
    whole = scene.profile(user("u1"))
    assert whole == scene.profile(email(JANE))
    assert _timeline(whole) == _names([*before, *account, merge])
    with store.reading() as tx:
        assert streams.counted(tx)["profiles"] == 1


def _timeline(told: dict[str, object] | None) -> Counter[str]:
    assert told is not None
    entries = told["timeline"]
    assert isinstance(entries, list)
    return Counter(one["message_id"] for one in entries)


def _names(received: list[Received]) -> Counter[str]:
    return Counter(one.message_id for one in received)


def test_a_merge_keeps_the_refusal_of_either_and_the_log_of_both(sqlite_store: Store) -> None:
    """Row 17."""
    scene = Scene(sqlite_store)
    asked = {"consent": {"categoryPreferences": {"email": False, "ads": True}}}
    agreed = {"consent": {"categoryPreferences": {"email": True, "ads": True}}}
    refusal = identify(0, "B1", email=JANE, context=asked)
    consent = identify(1, "B2", "u1", context=agreed)
    merge, event = identify(2, None, "u1", JANE), sourced(50, JANE)
    scene.happens(refusal, consent, event, merge)
    (body,) = streams.left(sqlite_store).values()
    assert body["context"]["consent"] == {"categoryPreferences": {"ads": True, "email": False}}
    assert _timeline(scene.profile(user("u1"))) == _names([refusal, consent, merge, event])


def test_the_earlier_emails_of_a_merged_person_are_kept_and_found(sqlite_store: Store) -> None:
    """Row 18."""
    scene = Scene(sqlite_store)
    scene.happens(
        identify(0, "B1", "u1", "maiden@x.test"),
        identify(10, "B1", "u1", "married@x.test"),
        identify(20, "B1", "u1", "work@y.test"),
    )
    people = [scene.profile(email(one)) for one in ("maiden@x.test", "married@x.test", "work@y.test")]
    assert people[0] is not None
    assert people[0] == people[1] == people[2]
    assert [(one["value"], one["first_at"]) for one in people[0]["identifiers"]] == [
        ("u1", "2026-09-11T00:00:00.000Z"),
        ("maiden@x.test", "2026-09-11T00:00:00.000Z"),
        ("married@x.test", "2026-09-11T00:10:00.000Z"),
        ("work@y.test", "2026-09-11T00:20:00.000Z"),
    ]
    assert scene.traits(user("u1")) == {"email": "work@y.test"}


def test_profile_ids_are_stable_as_people_grow_merge_and_are_resolved_anew(sqlite_store: Store) -> None:
    """Row 25."""
    scene = Scene(sqlite_store)
    scene.happens(identify(10, "B1", email=JANE))
    first = _profile_id(scene, email(JANE))
    scene.happens(identify(20, "B1", "u1", JANE), klaviyo(30, JANE, "P"), identify(40, "B2", "u1", "new@x.test"))
    assert _profile_id(scene, email("new@x.test")) == first
    scene.happens(identify(15, None, "u9", "later@x.test"))
    later = _profile_id(scene, user("u9"))
    scene.happens(operate.link(NOW, email(JANE), email("later@x.test")))
    assert _profile_id(scene, user("u9")) == later, "u1 and u9 are two people"
    assert _profile_id(scene, user("u1")) == first


def test_a_merge_keeps_the_older_profile_id_and_the_younger_one_still_leads_there(store: Store) -> None:
    """Row 25: an id that was given out stays good."""
    scene = Scene(store)
    scene.happens(identify(10, "B1", email=JANE), identify(20, "B2", "u1"))
    older, younger = _profile_id(scene, email(JANE)), _profile_id(scene, user("u1"))
    scene.happens(identify(30, None, "u1", JANE))
    assert older != younger
    with store.reading() as tx:
        found = [answers.profile_by_id(tx, scene.house, one) for one in (older, younger)]
    assert found[0] is not None
    assert found[0] == found[1]
    assert found[0]["profile_id"] == older


def _profile_id(scene: Scene, one: Identifier) -> str:
    found = scene.profile(one)
    assert found is not None
    return str(found["profile_id"])


# -- Segment's worked examples of merges, with its default limits -----------------------------------------------------


def test_a_new_user_id_with_the_email_of_another_user_is_a_new_profile_without_the_email(sqlite_store: Store) -> None:
    """Segment: user_id is limited to 1 and outranks email, so the email is dropped from matching."""
    scene = Scene(sqlite_store)
    scene.happens(identify(0, "B1", "u1", JANE), identify(10, "B2", "u2", JANE))
    assert scene.people() == {frozenset({"u1", JANE}), frozenset({"u2"})}
    assert scene.refused() == {("u2", JANE, "declared", "user_id")}
    assert scene.owner(browser("B2"), 11) == {"u2"}


def test_an_event_without_match_creates_one_match_attaches_and_two_merge(sqlite_store: Store) -> None:
    """Segment's flat matching: 0, 1 and 2 or more profiles found."""
    scene = Scene(sqlite_store)
    scene.happens(identify(0, None, "u1"))
    assert scene.people() == {frozenset({"u1"})}
    scene.happens(identify(1, None, "u1", JANE))
    assert scene.people() == {frozenset({"u1", JANE})}
    scene.happens(klaviyo(2, JOE, "P"))
    assert scene.people() == {frozenset({"u1", JANE}), frozenset({JOE, "P"})}
    scene.happens(identify(3, None, "u1", JOE))
    assert scene.people() == {frozenset({"u1", JANE, JOE, "P"})}


def test_the_sixth_email_is_demoted_and_the_user_id_it_came_with_is_not(store: Store) -> None:
    """Segment: email is limited to 5, and the identifier of lower priority is the one dropped."""
    scene = Scene(store)
    five = [identify(n, f"B{n}", "u1", f"p{n}@x.test") for n in range(5)]
    scene.happens(*five, identify(9, "B9", "u1", "sixth@x.test"))
    assert scene.people() == {frozenset({"u1", *(f"p{n}@x.test" for n in range(5))}), frozenset({"sixth@x.test"})}
    assert scene.refused() == {("u1", "sixth@x.test", "declared", "email")}
    assert "u1" in scene.owner(browser("B9"), 10)


def test_a_merge_that_would_hold_too_many_emails_leaves_both_profiles_as_they_are(sqlite_store: Store) -> None:
    """Segment: limits hold for the result of a merge too."""
    scene = Scene(sqlite_store)
    mine = [identify(n, None, "u1", f"p{n}@x.test") for n in range(3)]
    theirs = [klaviyo(n + 10, f"q{n}@x.test", "P") for n in range(3)]
    scene.happens(*mine, *theirs, klaviyo(20, "p0@x.test", "P"))
    persons = {
        frozenset({"u1", "p0@x.test", "p1@x.test", "p2@x.test"}),
        frozenset({"P", *(f"q{n}@x.test" for n in range(3))}),
    }
    assert scene.people() == persons
    assert scene.refused() == {("p0@x.test", "P", "vendor", "email")}


def test_without_their_limit_the_anonymous_ids_of_a_person_are_as_many_as_they_are(sqlite_store: Store) -> None:
    """Segment's default of five anonymous ids drops the sixth; here they attach, so there is nothing to drop."""
    scene = Scene(sqlite_store)
    scene.happens(*(identify(n, f"B{n}", "u1", JANE) for n in range(8)))
    assert scene.people() == {frozenset({"u1", JANE})}
    assert [scene.owner(browser(f"B{n}"), 20) for n in range(8)] == [{"u1", JANE}] * 8


def test_what_segment_cannot_unsplit_heals_by_the_call_that_carries_both_ids(sqlite_store: Store) -> None:
    """Segment's fragments do not heal by themselves; an identify with both ids heals them, here as well."""
    scene = Scene(sqlite_store)
    event = sourced(1, JANE, messageId="e1")
    scene.happens(identify(0, "B1", email=JANE), event, identify(5, "B2", "u1"))
    assert scene.people() == {frozenset({JANE}), frozenset({"u1"})}
    scene.happens(identify(9, "B1", "u1", JANE))
    assert scene.people() == {frozenset({JANE, "u1"})}
    assert scene.outcome(event) == Outcome.STITCHED
    assert at(9) < NOW
