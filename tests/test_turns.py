"""What concerns one subject leaves the outbox in its order, on both databases, and waiting costs nothing."""

from __future__ import annotations

import threading

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector import queue, turns
from connector.destinations import klaviyo
from connector.messages import DAY, MINUTE
from connector.retry import next_attempt, too_late_to_repeat
from connector.store import Store
from connector.tables import outbox
from tests.outbox_rows import NOW, put, rows

LEASE = 5 * MINUTE


def claim(store: Store, claimer: str = "one", *, limit: int = 100, now: int = NOW) -> list[queue.Delivery]:
    with store.writing() as tx:
        return queue.claim(tx, "segment", limit=limit, now=now, claimer=claimer, for_ms=LEASE)


def settle(store: Store, *settlements: queue.Settlement, claimer: str = "one") -> None:
    with store.writing() as tx:
        queue.settle(tx, "segment", settlements, claimer=claimer, now=NOW)


def names(deliveries: list[queue.Delivery]) -> list[str]:
    return [one.message_id for one in deliveries]


def test_a_claim_takes_the_head_of_a_subject_and_then_what_follows_it(store: Store) -> None:
    put(store, "a1", subject_id=1, due_at=NOW, at=9)
    put(store, "a2", subject_id=1, due_at=NOW - 5, at=1)
    put(store, "free", due_at=NOW - 1)
    put(store, "b1", subject_id=2, due_at=NOW - 3)
    put(store, "a3", subject_id=1, due_at=NOW - 9)
    put(store, "later", subject_id=1, due_at=NOW + 1)
    put(store, "after it", subject_id=1, due_at=NOW)
    put(store, "elsewhere", subject_id=1, destination="klaviyo")
    found = claim(store)
    assert names(found) == ["b1", "free", "a1", "a2", "a3"]
    assert [one.subject_id for one in found] == [2, None, 1, 1, 1]


def test_a_subject_is_cut_where_the_claim_is_full_and_nobody_else_has_the_rest(store: Store) -> None:
    for number in range(6):
        put(store, f"a{number}", subject_id=1)
    put(store, "b", subject_id=2, due_at=NOW + 1)
    assert names(claim(store, limit=4)) == ["a0", "a1", "a2", "a3"]
    assert claim(store, "two") == []
    assert names(claim(store, "two", now=NOW + 1)) == ["b"]


def test_the_next_comes_when_the_one_before_has_left_or_died_and_not_while_it_waits(store: Store) -> None:
    put(store, "a1", subject_id=1)
    put(store, "a2", subject_id=1, due_at=NOW + 1)
    put(store, "b1", subject_id=2)
    put(store, "b2", subject_id=2, due_at=NOW + 1)
    put(store, "c1", subject_id=3)
    put(store, "c2", subject_id=3, due_at=NOW + 1)
    one, two, three = claim(store)
    settle(
        store,
        queue.delivered([one], "yes"),
        queue.dead([two], "refused", "no"),
        queue.postponed([three], "refused", "later", NOW + DAY),
    )
    assert rows(store, "message_id", "due_at")[-1] == ("c2", NOW + DAY), "it is not looked at in vain"
    rest = claim(store, "two", now=NOW + 1)
    assert names(rest) == ["a2", "b2"]
    settle(store, queue.delivered(rest, "yes"), claimer="two")
    assert names(claim(store, "three", now=NOW + DAY)) == ["c1", "c2"]


def test_what_is_handed_back_until_there_is_room_lets_its_followers_wait_as_long(store: Store) -> None:
    put(store, "a1", subject_id=1)
    put(store, "a2", subject_id=1, due_at=NOW + 1)
    put(store, "free", due_at=NOW + 1)
    settle(store, queue.handed_back(claim(store), NOW + MINUTE))
    assert rows(store, "message_id", "due_at", "attempts", "maybe_sent_at") == [
        ("a1", NOW + MINUTE, 0, None),
        ("a2", NOW + MINUTE, 0, None),
        ("free", NOW + 1, 0, None),
    ]


def test_a_head_that_was_claimed_by_somebody_who_died_passes_on_with_what_follows(store: Store) -> None:
    put(store, "a1", subject_id=1)
    put(store, "a2", subject_id=1)
    assert names(claim(store, "killed")) == ["a1", "a2"]
    assert claim(store, "two", now=NOW + LEASE - 1) == []
    assert names(claim(store, "two", now=NOW + LEASE)) == ["a1", "a2"]


def test_what_was_retried_by_hand_goes_first_and_does_not_overtake_what_is_on_its_way(store: Store) -> None:
    put(store, "a1", subject_id=1, status="dead")
    put(store, "a2", subject_id=1)
    put(store, "a3", subject_id=1)
    assert names(claim(store, limit=1)) == ["a2"]
    with store.writing() as tx:
        queue.retry(tx, None, now=NOW)
    assert names(claim(store, "two")) == ["a1"], "a2 is somebody's, so a3 may not follow"


def test_what_is_erased_with_its_delivery_is_gone(store: Store) -> None:
    put(store, "a")
    put(store, "b")
    one, two = claim(store)
    settle(store, queue.delivered([one], "yes", erase=True), queue.delivered([two], "yes"))
    (first, second) = rows(store, "status", "body")
    assert first == ("delivered", "")
    assert second == ("delivered", two.body)


def test_whoever_has_the_head_has_the_subject_even_before_it_is_committed(postgres_store: Store) -> None:
    for number in range(3):
        put(postgres_store, f"a{number}", subject_id=1)
    put(postgres_store, "b", subject_id=2)
    with postgres_store.writing() as slow:
        assert names(queue.claim(slow, "segment", limit=1, now=NOW, claimer="slow", for_ms=LEASE)) == ["a0"]
        assert names(claim(postgres_store, "quick")) == ["b"]


def test_a_follower_that_somebody_is_changing_ends_the_row(postgres_store: Store) -> None:
    for number in range(4):
        put(postgres_store, f"a{number}", subject_id=1)
    with postgres_store.writing() as other:
        other.execute(outbox.update().where(outbox.c.message_id == "a2").values(body="changed"))
        assert names(claim(postgres_store)) == ["a0", "a1"]


def test_postgres_finds_older_ones_in_their_index(postgres_store: Store) -> None:
    for number in range(50):
        put(postgres_store, f"a{number}", subject_id=number % 5)
    with postgres_store.writing() as tx:
        tx.exec_driver_sql("set local enable_seqscan = off")
        query = turns.without_bodies(tx).where(*turns.claimable("segment", NOW)).limit(10)
        compiled = query.compile(tx.engine, compile_kwargs={"literal_binds": True})
        plan = "\n".join(row[0] for row in tx.exec_driver_sql(f"explain {compiled}"))
    assert "outbox_subject on outbox older" in plan
    assert "Seq Scan" not in plan


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    subjects=st.lists(st.none() | st.integers(1, 3), min_size=1, max_size=25),
    limits=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    fates=st.lists(st.sampled_from(["delivered", "postponed", "dead", "handed back"]), min_size=5, max_size=40),
)
def test_however_it_goes_nothing_leaves_before_what_was_there_earlier(
    sqlite_store: Store, subjects: list[int | None], limits: list[int], fates: list[str]
) -> None:
    row = {"inbox_id": 1, "destination": "segment", "status": "pending", "at": NOW, "body": "{}", "created_at": NOW}
    pending = [
        {**row, "message_id": f"m{number}", "subject_id": subject_id, "due_at": NOW - number % 4}
        for number, subject_id in enumerate(subjects)
    ]
    with sqlite_store.writing() as tx:
        tx.execute(outbox.delete())
        tx.execute(outbox.insert(), pending)
    fate, gone, now = iter(fates * 200), list[queue.Delivery](), NOW
    for step in range(400):
        now += MINUTE
        found = claim(sqlite_store, f"c{step}", limit=limits[step % len(limits)], now=now)
        stuck: set[int] = set()
        settlements = []
        for one in found:
            chosen = next(fate) if step < 20 else "delivered"
            if one.subject_id in stuck:
                chosen = "handed back"  # as the deliverer does
            if chosen in ("postponed", "handed back"):
                stuck |= {one.subject_id} - {None}  # type: ignore[arg-type] # mypy does not see that None is taken out
            if chosen in ("delivered", "dead"):
                gone.append(one)
            made = {
                "delivered": queue.delivered([one], "yes"),
                "dead": queue.dead([one], "refused", "no"),
                "postponed": queue.postponed([one], "refused", "later", now + 2 * MINUTE),
                "handed back": queue.handed_back([one]),
            }
            settlements.append(made[chosen])
        settle(sqlite_store, *settlements, claimer=f"c{step}")
        if len(gone) == len(subjects):
            break
    assert len(gone) == len(subjects)
    for subject_id in (1, 2, 3):
        ids = [one.id for one in gone if one.subject_id == subject_id]
        assert ids == sorted(ids)


def test_threads_that_claim_and_settle_at_once_keep_every_subjects_order(postgres_store: Store) -> None:
    for number in range(120):
        put(postgres_store, f"m{number:03}", subject_id=number % 4)
    gone: list[queue.Delivery] = []
    lock = threading.Lock()

    def work(name: str) -> None:
        for step in range(200):
            claimer = f"{name}-{step}"
            found = claim(postgres_store, claimer, limit=7)
            with lock:
                gone.extend(found)
            settle(postgres_store, queue.delivered(found, "yes"), claimer=claimer)
            with lock:
                if len(gone) == 120:
                    return

    workers = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert len(gone) == 120
    for subject_id in range(4):
        ids = [one.id for one in gone if one.subject_id == subject_id]
        assert ids == sorted(ids)


def test_where_a_repeat_is_always_known_it_is_repeated_as_long_as_a_refused_one() -> None:
    terms = klaviyo.Klaviyo.TERMS
    facts = {"attempts": 40, "now": NOW, "jitter": 0.0, "terms": terms}
    for maybe_sent_at in (None, NOW - 6 * DAY):
        assert next_attempt(pending_at=NOW - 6 * DAY, maybe_sent_at=maybe_sent_at, **facts) == NOW + 1  # type: ignore[arg-type] # of several kinds
        assert next_attempt(pending_at=NOW - 7 * DAY, maybe_sent_at=maybe_sent_at, **facts) is None  # type: ignore[arg-type] # same
    assert not too_late_to_repeat(NOW - 30 * DAY, NOW, terms)
    asked = next_attempt(pending_at=NOW, maybe_sent_at=None, retry_after_seconds=1_000, **facts)  # type: ignore[arg-type] # same
    assert asked == NOW + 1_000_000, "a wish is kept to the second"
