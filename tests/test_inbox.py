"""The inbox on both databases: each message once, taken once, and a commit that many requests share."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from connector import counters, inbox
from connector.errors import StoreUnavailable
from connector.group_commit import GroupCommit
from connector.inbox import Kept
from connector.messages import Received, Stored
from connector.store import Store, open_store
from connector.tables import doors
from connector.tables import inbox as inbox_table


def message(number: int, body: str = "{}", source: str = "segment") -> Received:
    return Received(source, f"m{number}", body, 1_000 + number)


def put(store: Store, *received: Received) -> Kept:
    with store.writing() as tx:
        return inbox.store(tx, received)


def ids_of(store: Store) -> list[str]:
    with store.reading() as tx:
        return list(tx.scalars(sa.select(inbox_table.c.message_id).order_by(inbox_table.c.id)))


def counted(store: Store) -> dict[str, int]:
    with store.reading() as tx:
        return counters.read(tx)


def test_what_was_stored_is_taken_whole_and_once(store: Store) -> None:
    odd = Received("klaviyo", "m2", '{"a":"\\u0000é"}', 2_000, False, '{"meta":{}}', "rotten because")
    assert put(store, message(1), odd) == Kept(stored=2)
    with store.writing() as tx:
        assert inbox.waiting(tx) == 2
        taken = sorted(inbox.take(tx, 10), key=lambda one: one.message_id)
        assert inbox.take(tx, 10) == []
        assert inbox.waiting(tx) == 0
    assert {one.id for one in taken} == {1, 2}
    assert taken == [
        Stored(taken[0].id, "segment", "m1", "{}", 1_001, True, None, None),
        Stored(taken[1].id, "klaviyo", "m2", '{"a":"\\u0000é"}', 2_000, False, '{"meta":{}}', "rotten because"),
    ]


def test_take_gives_the_oldest_first_and_put_back_gives_again(store: Store) -> None:
    for number in range(5):
        put(store, message(number))
    with store.writing() as tx:
        taken = inbox.take(tx, 3)
        inbox.put_back(tx, [one.id for one in taken[1:]] + [taken[1].id])
        inbox.put_back(tx, [])
        again = inbox.take(tx, 10)
    assert [one.message_id for one in taken] == ["m0", "m1", "m2"]
    assert [one.message_id for one in again] == ["m1", "m2", "m3", "m4"]


def test_what_was_taken_waits_again_if_the_transaction_fails(store: Store) -> None:
    put(store, message(1))
    with pytest.raises(ZeroDivisionError), store.writing() as tx:
        assert len(inbox.take(tx, 10)) == 1
        raise ZeroDivisionError
    with store.writing() as tx:
        assert [one.message_id for one in inbox.take(tx, 10)] == ["m1"]


def test_two_takers_on_postgresql_never_get_the_same_and_never_wait(postgres_store: Store) -> None:
    put(postgres_store, *(message(number) for number in range(6)))
    with postgres_store.writing() as one, postgres_store.writing() as other:
        other.exec_driver_sql("set local lock_timeout = '5s'")  # a test that fails must not hang
        first, second = inbox.take(one, 4), inbox.take(other, 4)
    assert (len(first), len(second)) == (4, 2)
    assert len({stored.id for stored in first + second}) == 6


def test_a_transaction_that_commits_late_loses_nothing(postgres_store: Store) -> None:
    with postgres_store.writing() as late:
        inbox.store(late, [message(1)])
        put(postgres_store, message(2))
        with postgres_store.writing() as tx:
            assert [one.message_id for one in inbox.take(tx, 10)] == ["m2"]
    with postgres_store.writing() as tx:
        assert [one.message_id for one in inbox.take(tx, 10)] == ["m1"]


def test_a_body_that_was_emptied_since_conflicts_with_nothing(store: Store) -> None:
    """Platforms deliver at least once, also what we were told to forget meanwhile."""
    put(store, message(1, '{"a":1}'))
    with store.writing() as tx:
        inbox.empty(tx, [1])
    assert put(store, message(1, '{"a":1}')) == Kept(duplicates=1)


def test_duplicates_are_told_from_conflicts(store: Store) -> None:
    assert put(store, message(1, '{"a":1,"sentAt":"x"}'), message(2)) == Kept(stored=2)
    assert counted(store) == {}
    again = [
        message(1, '{"a":1,"sentAt":"x"}'),
        message(1, '{"a":1,"sentAt":"y"}'),  # a sender that tries again says when it does
        message(1, '{"a":2}'),
        message(2, "not JSON"),
        message(3, "first"),
        message(3, "second"),
        message(1, "{}", "klaviyo"),
    ]
    assert put(store, *again) == Kept(stored=2, duplicates=5, conflicts=3)
    assert counted(store) == {"duplicates": 5, "conflicting_duplicates": 3}
    with store.writing() as tx:
        bodies = {(one.source, one.message_id): one.body for one in inbox.take(tx, 10)}
    assert bodies == {
        ("segment", "m1"): '{"a":1,"sentAt":"x"}',
        ("segment", "m2"): "{}",
        ("segment", "m3"): "first",
        ("klaviyo", "m1"): "{}",
    }


def test_requests_stored_together_are_answered_apart(store: Store) -> None:
    with store.writing() as tx:
        kept = inbox.store_all(tx, [[message(1), message(2)], [], [message(2), message(3, "a")], [message(3, "b")]])
    assert kept == [Kept(2), Kept(), Kept(stored=1, duplicates=1), Kept(duplicates=1, conflicts=1)]


def test_four_thousand_at_once(store: Store) -> None:
    many = [message(number, '{"a":"%s"}' % ("x" * 500)) for number in range(4_000)]
    assert put(store, *many) == Kept(stored=4_000)
    assert put(store, *reversed(many)) == Kept(duplicates=4_000)
    with store.writing() as tx:
        taken = inbox.take(tx, 5_000)
        inbox.put_back(tx, [one.id for one in taken])
        assert inbox.waiting(tx) == 4_000
    assert {one.message_id for one in taken} == {one.message_id for one in many}


def test_opposite_orders_do_not_deadlock(postgres_store: Store) -> None:
    """Both requests want the same rows; the later one waits for the first, whatever order they came in."""
    many = [message(number) for number in range(200)]
    kept: list[Kept] = []
    threads = [
        threading.Thread(target=lambda: kept.append(put(postgres_store, *many))),
        threading.Thread(target=lambda: kept.append(put(postgres_store, *reversed(many)))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.stored for one in kept) == 200
    assert sum(one.duplicates for one in kept) == 200


def test_the_door_remembers_its_last_message_once_a_second(store: Store) -> None:
    for at in (10_000, 10_900, 11_000, 11_500):
        put(store, Received("segment", f"m{at}", "{}", at))
    put(store, Received("klaviyo", "k", "{}", 11_600))
    with store.reading() as tx:
        rows = tx.execute(sa.select(doors.c.source, doors.c.last_at).order_by(doors.c.source)).all()
    assert [tuple(row) for row in rows] == [("klaviyo", 11_600), ("segment", 11_000)]


def test_counters_add_up_over_shards(store: Store) -> None:
    with store.writing() as tx:
        counters.add(tx, "b", 2)
        counters.add(tx, "b", 3)
        counters.add(tx, "a", 1)
        tx.execute(sa.text("insert into counters (name, shard, value) values ('b', 99, 10)"))
        assert counters.read(tx) == {"a": 1, "b": 15}


class TestGroupCommit:
    def test_many_threads_share_commits_and_each_hears_its_own_result(self, store: Store) -> None:
        commits = GroupCommit(store)
        heard: dict[int, list[Kept]] = {}

        def send(sender: int) -> None:
            heard[sender] = [commits.submit([message(sender * 100 + n), message(7)]) for n in range(5)]

        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        commits.stop()
        total = [kept for each in heard.values() for kept in each]
        assert sum(kept.stored for kept in total) == 41
        assert sum(kept.duplicates for kept in total) == 39
        assert len(ids_of(store)) == 41

    def test_one_bad_request_does_not_fail_its_neighbours(self, sqlite_store: Store) -> None:
        commits = GroupCommit(sqlite_store)
        heard: dict[str, object] = {}

        def send(name: str, received: Received) -> None:
            try:
                heard[name] = commits.submit([received])
            except Exception as error:
                heard[name] = type(error)

        bad = Received("segment", "bad", "\ud800", 1)
        threads = [
            threading.Thread(target=send, args=(name, one))
            for name, one in (("a", message(1)), ("bad", bad), ("b", message(2)))
        ]
        with sqlite_store.writing():  # so that all three wait together
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join()
        commits.stop()
        assert heard == {"a": Kept(stored=1), "b": Kept(stored=1), "bad": UnicodeEncodeError}
        assert sorted(ids_of(sqlite_store)) == ["m1", "m2"]

    def test_a_store_that_stays_busy_is_unavailable_and_nothing_is_acknowledged(self, sqlite_store: Store) -> None:
        commits = GroupCommit(sqlite_store, timeout_seconds=0.05)
        with sqlite_store.writing(), pytest.raises(StoreUnavailable):
            commits.submit([message(1)])
        kept = commits.submit([message(1)])
        commits.stop()
        assert kept.stored + kept.duplicates == 1
        assert ids_of(sqlite_store) == ["m1"]

    def test_a_table_locked_on_postgresql_is_unavailable(self, postgres_store: Store) -> None:
        commits = GroupCommit(postgres_store, timeout_seconds=0.1)
        with postgres_store.writing() as tx:
            tx.execute(sa.text("lock table inbox in access exclusive mode"))
            with pytest.raises(StoreUnavailable):
                commits.submit([message(1)])
        assert commits.submit([message(1)]) == Kept(stored=1)

    def test_waiting_for_a_connection_and_for_the_commit_have_one_deadline(self, postgres_store: Store) -> None:
        """Here no time is left once there is a connection; a limit of 0 would mean to PostgreSQL that there is none."""
        commits = GroupCommit(postgres_store, timeout_seconds=0.0)
        with pytest.raises(StoreUnavailable):
            commits.submit([message(1)])
        assert ids_of(postgres_store) == []

    def test_what_was_acknowledged_while_stopping_is_on_disk_and_nothing_is_taken_after(self, store: Store) -> None:
        commits = GroupCommit(store)
        acknowledged: list[str] = []

        def send(sender: int) -> None:
            for number in range(sender * 1_000, sender * 1_000 + 1_000):
                try:
                    commits.submit([message(number)])
                except StoreUnavailable:
                    return
                acknowledged.append(f"m{number}")

        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
        for thread in threads:
            thread.start()
        commits.submit([message(9_999)])
        commits.stop()
        with pytest.raises(StoreUnavailable):
            commits.submit([message(10_000)])
        commits.stop()
        for thread in threads:
            thread.join()
        assert set(acknowledged) <= set(ids_of(store))
        assert "m10000" not in ids_of(store)


def test_a_message_survives_a_restart_and_is_still_known(tmp_path: Path, sqlite_url: str) -> None:
    first = open_store(sqlite_url)
    put(first, message(1))
    first.dispose()
    second = open_store(sqlite_url)
    assert put(second, message(1)) == Kept(duplicates=1)
    second.dispose()
