"""Somebody is forgotten: nothing of them is left, and nothing brings them back."""

from __future__ import annotations

import pytest

from connector import answers, derive, held, operate, queue
from connector.messages import HOUR, MINUTE, Identifier, Outcome, Received
from connector.store import Store
from tests import streams
from tests.scenes import (
    CONSENTING,
    GONE,
    JOE,
    NAMES,
    Scene,
    browser,
    email,
    forget,
    janes,
    joes,
    klaviyo_profile,
    remains,
    traces,
    user,
)  # fmt: skip
from tests.streams import NOW, call, identify, klaviyo, md5, page, sha256, sourced

# -- nothing is left --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "named",
    [email(GONE), user("jane-user-77"), browser("jane-browser"), klaviyo_profile("jane-profile")],
    ids=lambda one: one.type,
)
def test_by_whatever_name_nothing_of_her_is_left_in_any_table(store: Store, named: Identifier) -> None:
    scene = Scene(store, CONSENTING)
    scene.arrives(*janes(), *joes())
    assert traces(scene) == {*NAMES, "jane gone", "gone-upon-sea"}
    scene.arrives(forget(named))
    assert traces(scene) == set()
    remains(scene, *joes())


def test_whom_only_the_url_of_hers_had_named_goes_with_her(store: Store) -> None:
    scene = Scene(store)
    search = {"page": {"search": "?utm_email=jane-gone%40url.test&kl_pid=GONE77&_kx=dG9rZW4tZ29uZQ.AbC123"}}
    scene.arrives(page(1, "jane-browser", context=search), identify(2, "jane-browser", "jane-user-77"))
    scene.arrives(page(3, "joes", "joe", context={"page": {"search": "?kl_pid=JOES"}}), forget(user("jane-user-77")))
    with store.reading() as tx:
        left = sorted(row[0] for row in tx.exec_driver_sql("select value from identifiers"))
    assert left == ["JOES", "joe", "joes"]


def test_of_each_delivery_nothing_is_left_whatever_had_become_of_it(store: Store) -> None:
    scene = Scene(store)
    waiting = [sourced(1, GONE, messageId=f"held{n}") for n in range(2)]
    scene.arrives(*waiting)
    with store.writing() as tx:
        held.expire(tx, scene.house, NOW + 80 * HOUR)
    scene.settle("delivered")
    scene.arrives(identify(2, "jane-browser", "jane-user-77", GONE), sourced(3, GONE))
    scene.settle("dead")
    scene.arrives(sourced(4, GONE), sourced(5, None, "jane-user-77", "other@jane.test"), sourced(6, JOE))
    before = ["delivered", "delivered", "dead", "dead", "pending", "pending", "held"]
    assert [status for status, *_ in scene.leaves()] == before
    scene.arrives(forget(email(GONE)))
    assert traces(scene, "other@jane.test") == set()
    assert scene.deliveries()[:-1] == [(one, None) for one in ["delivered"] * 2 + ["dropped"] * 4]
    assert scene.leaves()[-1][0] == "held", "the mail to Joe waits on"
    with store.reading() as tx:
        found = streams.counted(tx)
    kept = {name: n for name, n in found.items() if name.startswith("outbox.")}
    assert kept == {"outbox.segment.delivered": 2, "outbox.segment.held": 1}


def test_a_held_row_of_hers_never_leaves(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(sourced(1, GONE), sourced(2, md5(GONE)), sourced(3, JOE), forget(email(GONE)))
    assert [status for status, *_ in scene.leaves()] == ["dropped", "dropped", "held"]
    scene.arrives(identify(1_001, "jane-browser", "jane-user-77", GONE))
    with sqlite_store.writing() as tx:
        assert held.expire(tx, scene.house, NOW + 80 * HOUR) == 1
    assert [status for status, *_ in scene.leaves()] == ["dropped", "dropped", "pending"]


def test_the_log_and_the_exports_tell_that_somebody_was_forgotten_and_not_who(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    act = forget(email(GONE))
    scene.arrives(*janes()[:-1], *joes(), act)
    with sqlite_store.reading() as tx:
        exported = str([*answers.export_profiles(tx, scene.house), *answers.export_links(tx, scene.house)]).lower()
        entries = list(answers.export_log(tx))
    assert not [one for one in NAMES if one in exported or one in str(entries).lower()]
    assert [one["outcome"] for one in entries].count(Outcome.FORGOTTEN) == len(janes()) - 1
    told = scene.message(act)
    assert told["message"]["raw"] is None
    assert "reason given: asked by letter" in told["decision"]["reason"]
    assert scene.profile(email(GONE)) is None
    with sqlite_store.reading() as tx:
        assert answers.explain(tx, scene.house, GONE)["what"] == "unknown"


def test_of_an_address_that_only_its_hash_was_ever_seen_of_the_hash_goes(sqlite_store: Store) -> None:
    """Some sources send nothing but MD5(email); who asks to be forgotten names the email."""
    scene = Scene(sqlite_store)
    events = [sourced(5, md5(GONE)), sourced(6, sha256(GONE))]
    scene.arrives(*events, *joes(), forget(email(GONE)))
    assert traces(scene) == set()
    remains(scene, *joes())
    assert [scene.outcome(one) for one in events] == [Outcome.FORGOTTEN] * 2


def test_an_alias_that_names_her_address_goes_too(sqlite_store: Store) -> None:
    """Old libraries alias by email: it joins nobody, and its body still quotes her."""
    scene = Scene(sqlite_store)
    before, late = (call(minutes, type="alias", previousId=GONE, userId="jane-user-77") for minutes in (2, 3))
    scene.arrives(before, identify(1, "jane-browser", email=GONE), *joes(), forget(email(GONE)), late)
    assert GONE not in scene.text()
    assert [scene.outcome(one) for one in (before, late)] == [Outcome.FORGOTTEN] * 2


# -- nothing brings her back ------------------------------------------------------------------------------------------


def test_retries_of_her_messages_are_repeats_and_replays_under_new_ids_are_dropped(store: Store) -> None:
    scene = Scene(store)
    first = janes()
    scene.arrives(*first, *joes(), forget(email(GONE)))
    scene.arrives(*first, *janes(1)[:-1])
    assert traces(scene) == set()
    remains(scene, *joes())


def test_processing_what_is_stored_again_does_not_bring_her_back(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    first = janes()[:-1]
    scene.arrives(*first, *joes(), forget(email(GONE)))
    for one in first:
        scene.again(one)
    assert traces(scene) == set()
    remains(scene, *joes())


def test_a_rebuild_does_not_bring_her_back(store: Store) -> None:
    scene = Scene(store, CONSENTING)
    scene.arrives(*janes(), *joes(), forget(email(GONE)))
    with store.writing() as tx:
        before = answers.digest(tx, scene.house)
        derive.rebuild(tx, scene.house.rules, scene.house.keys)
        assert answers.digest(tx, scene.house) == before
    assert traces(scene) == set()
    remains(scene, *joes())


@pytest.mark.parametrize("minutes", [-5, 999, 1_000, 1_000.9])
def test_events_from_before_that_come_late_are_dropped(sqlite_store: Store, minutes: float) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(*janes(), forget(user("jane-user-77")))
    late = [
        identify(minutes, "jane-browser"),
        identify(minutes, "new-browser", email=GONE),
        klaviyo(minutes, None, "jane-profile"),
        sourced(minutes, md5(GONE)),
        sourced(minutes, sha256(GONE).upper()),
        call(minutes, type="identify", anonymousId="other", traits={"phone": "+4799887766"}),
        page(minutes, None, "jane-user-77"),
        call(minutes, type="alias", userId="jane-user-77", previousId="jane-browser"),
    ]
    scene.arrives(*late)
    assert [scene.outcome(one) for one in late] == [Outcome.FORGOTTEN] * len(late)
    assert traces(scene) == set()
    remains(scene)


def test_a_forgetting_that_comes_before_what_it_forgets_holds_for_its_name(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(forget(email(GONE)))
    late = [identify(1, "jane-browser", email=GONE), sourced(2, md5(GONE)), klaviyo(3, GONE, "jane-profile")]
    scene.arrives(*late)
    assert [scene.outcome(one) for one in late] == [Outcome.FORGOTTEN] * 3
    assert traces(scene) == set()


def test_what_was_put_aside_unread_and_quotes_her_address_is_emptied_and_stays_so(store: Store) -> None:
    scene = Scene(store)
    unread = Received("nobody_maps", "b1", '{"event":"opened","email":"Gone@Jane.test"}', NOW)
    other = Received("nobody_maps", "b2", '{"event":"opened","email":"joe@x.test"}', NOW)
    scene.arrives(unread, other, identify(1, "jane-browser", email=GONE))
    assert [scene.outcome(one) for one in (unread, other)] == [Outcome.QUARANTINED] * 2
    scene.arrives(operate.forget(NOW, email(GONE)))
    assert traces(scene) == set()
    assert [scene.outcome(one) for one in (unread, other)] == [Outcome.FORGOTTEN, Outcome.QUARANTINED]
    scene.arrives(operate.retry_quarantined(NOW + 1))
    scene.arrives()
    assert traces(scene) == set()


@pytest.mark.parametrize(
    ("address", "quoted"),
    [
        ("gone+shop@jane.test", "gone\\u002Bshop@jane.test"),
        ("g\u00f6ne@jane.test", "g\\u00f6ne@jane.test"),
        ("gone@xn--jne-qla.test", "Gone@J\u00e4ne.test"),
    ],
    ids=["as .NET escapes a plus sign", "as PHP escapes letters", "a domain not in its ASCII form"],
)
def test_what_was_put_aside_unread_quotes_her_address_in_another_spelling(
    sqlite_store: Store, address: str, quoted: str
) -> None:
    scene = Scene(sqlite_store)
    unread = Received("nobody_maps", "b1", '{"event":"opened","email":"' + quoted + '"}', NOW)
    scene.arrives(unread, identify(1, "jane-browser", email=address), operate.forget(NOW, email(address)))
    assert scene.outcome(unread) == Outcome.FORGOTTEN
    assert quoted.lower() not in scene.text()


@pytest.mark.parametrize("answer", ["postponed", "delivered", "dead", "handed back"])
def test_a_delivery_under_way_when_she_is_forgotten_is_not_tried_again(sqlite_store: Store, answer: str) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(identify(1, "jane-browser", "jane-user-77", GONE), sourced(2, GONE))
    with sqlite_store.writing() as tx:
        claimed = queue.claim(tx, "segment", limit=9, now=NOW, claimer="c", for_ms=MINUTE)
    scene.arrives(forget(email(GONE)))
    settlement = {
        "postponed": queue.postponed(claimed, "refused", "503", NOW + 1),
        "delivered": queue.delivered(claimed, "200"),
        "dead": queue.dead(claimed, "refused", "400"),
        "handed back": queue.handed_back(claimed),
    }[answer]
    with sqlite_store.writing() as tx:
        queue.settle(tx, "segment", [settlement], claimer="c", now=NOW + 1)
    scene.arrives(operate.retry_dead(NOW + 2))
    with sqlite_store.writing() as tx:
        assert queue.claim(tx, "segment", limit=9, now=NOW + 9 * MINUTE, claimer="d", for_ms=MINUTE) == []
    assert traces(scene) == set()


def test_the_opaque_id_her_mails_left_under_is_not_joined_to_who_signs_up_later(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(sourced(2, GONE))
    with sqlite_store.writing() as tx:
        held.expire(tx, scene.house, NOW + 80 * HOUR)
    scene.arrives(forget(email(GONE)), identify(1_001, "jane-browser", "jane-user-77", GONE))
    assert scene.deliveries() == [("dropped", None)]
