"""Random small worlds in which links are taken back, made by hand and restored, consent is withheld, and hubs form."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from connector import counters, derive, inbox, migrate, operate, worker
from connector.messages import Identifier, Received
from connector.store import Store, open_store
from connector.tables import identifiers, links, metadata, sightings
from tests import streams
from tests.oracle import Oracle, read_act
from tests.oracle_check import compare, compare_exports, exports, invariants
from tests.streams import known
from tests.worlds import (
    ANY,
    ASKING,
    BREAKING,
    EVERYTHING,
    HOUSES,
    THEMES,
    WORLDS,
    World,
    act,
    play,
    reordered,
    times_of,
    undone,
    worlds,
)

UNASKING = [number for number in ANY if number not in ASKING]
"""Houses that need nobody's consent: what another house removed, no rules bring back."""

MIXED = worlds(acts=4, themes=EVERYTHING, numbers=(*ANY, *BREAKING, *ASKING))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One SQLite store for all worlds of this module; each is rolled back."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('worlds') / 'connector.db'}")
    migrate.upgrade(store)
    yield store
    store.dispose()


def check_world(store: Store, world: World) -> None:
    with undone(store) as tx:
        oracle = play(tx, world)
        compare(tx, world, oracle)
        invariants(tx, world, oracle)


# -- as the oracle says -------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(WORLDS, max_examples=250)
@given(world=worlds(acts=5))
def test_what_operators_do_in_any_order_ends_as_the_oracle_says(scratch: Store, world: World) -> None:
    check_world(scratch, world)


@pytest.mark.slow
@settings(WORLDS, max_examples=200)
@given(world=worlds(acts=3, themes=THEMES["breakers"], numbers=BREAKING))
def test_hubs_break_up_what_they_touch_as_the_oracle_says(scratch: Store, world: World) -> None:
    check_world(scratch, world)


@pytest.mark.slow
@settings(WORLDS, max_examples=200)
@given(world=worlds(acts=2, themes=EVERYTHING, numbers=ASKING))
def test_where_consent_was_withdrawn_nothing_counts_as_the_oracle_says(scratch: Store, world: World) -> None:
    check_world(scratch, world)


@pytest.mark.slow
@settings(WORLDS, max_examples=200)
@given(world=worlds(acts=2, themes=THEMES["clicks"], numbers=ANY))
def test_a_browser_that_clicked_is_believed_as_far_as_the_oracle_does(scratch: Store, world: World) -> None:
    check_world(scratch, world)


@settings(WORLDS, max_examples=80)
@given(world=worlds(acts=2, themes=THEMES["traits"], numbers=ANY))
def test_traits_are_the_last_by_event_time_as_the_oracle_says(scratch: Store, world: World) -> None:
    check_world(scratch, world)


@pytest.mark.slow
@settings(WORLDS, max_examples=40)
@given(world=MIXED)
def test_every_world_with_acts_ends_as_the_oracle_says_on_postgresql(postgres_store: Store, world: World) -> None:
    check_world(postgres_store, world)


@pytest.mark.long
@settings(WORLDS, max_examples=10_000)
@given(world=worlds(size=26, acts=7, themes=EVERYTHING, numbers=ANY))
def test_thousands_of_worlds_with_acts_end_as_the_oracle_says(scratch: Store, world: World) -> None:
    check_world(scratch, world)


@pytest.mark.long
@settings(WORLDS, max_examples=2_000)
@given(world=worlds(size=26, acts=7, themes=EVERYTHING, numbers=ANY))
def test_thousands_of_worlds_with_acts_end_as_the_oracle_says_on_postgresql(
    postgres_store: Store, world: World
) -> None:
    check_world(postgres_store, world)


# -- order, batches, repeats, workers -----------------------------------------------------------------------------


@pytest.mark.slow
@settings(WORLDS, max_examples=60)
@given(world=MIXED, data=st.data())
def test_acts_and_messages_in_another_order_end_in_the_same_bytes(
    scratch: Store, world: World, data: st.DataObject
) -> None:
    ends = []
    for one in (world, reordered(data.draw, world)):
        with undone(scratch) as tx:
            oracle = play(tx, one)
            told = (known(tx, one.house, times_of(oracle)), exports(tx, one.house), identity_counters(tx), record(tx))
            ends.append(told)
    assert ends[0] == ends[1]


@pytest.mark.slow
@settings(WORLDS, max_examples=20)
@given(world=MIXED)
def test_any_number_of_workers_ends_in_the_same_bytes(scratch: Store, postgres_store: Store, world: World) -> None:
    with undone(scratch) as tx:
        play(tx, world)
        alone = (exports(tx, world.house), identity_counters(tx), record(tx))
    with postgres_store.writing() as tx:
        for table in metadata.tables.values():
            tx.execute(sa.delete(table))
        inbox.store(tx, world.everything)
    work_together(postgres_store, world, workers=4)
    with postgres_store.reading() as tx:
        assert (exports(tx, world.house), identity_counters(tx), record(tx)) == alone


def work_together(store: Store, world: World, workers: int) -> None:
    """Threads that begin at the same moment and take one message at a time."""
    failures: list[BaseException] = []
    start = threading.Barrier(workers)

    def stitch() -> None:
        try:
            start.wait(30)
            while worker.stitch_once(store, world.house, streams.NOW, 1):
                pass
        except BaseException as error:  # the threads end; the test tells
            failures.append(error)

    threads = [threading.Thread(target=stitch) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while worker.stitch_once(store, world.house, streams.NOW):  # what one of them handed back in the end
        pass
    assert failures == []


# -- what holds whatever happens ----------------------------------------------------------------------------------


@settings(WORLDS, max_examples=60)
@given(world=MIXED)
def test_whatever_operators_do_no_limit_is_exceeded_and_no_two_users_are_one(scratch: Store, world: World) -> None:
    limits = {
        name: entry["limit"] for name, entry in streams.identity_of(world.house)["types"].items() if entry.get("limit")
    }
    with undone(scratch) as tx:
        play(tx, world)
        for person in known(tx, world.house).people:
            of_type = [one.type for one in person]
            assert of_type.count("user_id") <= 1
            assert all(of_type.count(name) <= limit for name, limit in limits.items())


@settings(WORLDS, max_examples=60)
@given(world=MIXED)
def test_no_browser_ever_joins_two_people(scratch: Store, world: World) -> None:
    with undone(scratch) as tx:
        oracle = play(tx, world)
        assert known(tx, world.house).people == without_browsers(oracle).people


def without_browsers(oracle: Oracle) -> Oracle:
    """As if no browser had been seen with anybody."""

    def about_people(*ends: Identifier) -> bool:
        return not any(oracle.is_browser(end) for end in ends)

    return dataclasses.replace(
        oracle,
        messages=tuple(
            dataclasses.replace(one, links=tuple(link for link in one.links if about_people(*link[:2])))
            for one in oracle.messages
        ),
        acts=tuple(act for act in oracle.acts if act.type != "link" or about_people(*act.covers)),
    )


# -- taking back and restoring ------------------------------------------------------------------------------------


@settings(WORLDS, max_examples=100)
@given(world=MIXED, data=st.data())
def test_what_was_taken_back_and_restored_is_as_if_nothing_had_happened(
    scratch: Store, world: World, data: st.DataObject
) -> None:
    with undone(scratch) as tx:
        oracle = play(tx, world)
        before = (exports(tx, world.house), identity_counters(tx), derived(tx))
        taken = data.draw(revocations(oracle))
        restored = act(1_001, "restore", data.draw(st.sampled_from([5.0, 1.0])), revocation=taken.message_id)
        acts = data.draw(st.permutations([taken, restored]))
        for one in acts:
            streams.take_in(tx, [one], world.house)
        assert (exports(tx, world.house), identity_counters(tx), derived(tx)) == before


def revocations(oracle: Oracle) -> st.SearchStrategy[Received]:
    """A revocation of a pair, an identifier or a message, of such as there are if there are any."""
    until = st.sampled_from([None, None, streams.at(1), streams.at(2)])
    minutes = st.sampled_from([5.0, 2.0, 0.0])
    unlink = st.just(1_000), st.just("unlink"), minutes
    somebody = Identifier("email", "never.seen@x.test")
    pairs = sorted({link[:2] for link in oracle.links}) or [(somebody, Identifier("user_id", "never.seen"))]
    keys = sorted(one.key for one in oracle.messages) or ["segment/never-seen"]
    return st.one_of(
        st.builds(act, *unlink, identifier=st.sampled_from(sorted(oracle.seen) or [somebody]), until=until),
        st.sampled_from(pairs).flatmap(
            lambda pair: st.builds(act, *unlink, left=st.just(pair[0]), right=st.just(pair[1]), until=until)
        ),
        st.builds(act, *unlink, message=st.sampled_from(keys)),
    )


def test_operators_write_what_these_worlds_say() -> None:
    left, right = Identifier("email", "a@x.test"), Identifier("user_id", "u1")
    wanted = {
        operate.unlink(streams.at(3), left=left, right=right, until=streams.at(1)): act(
            0, "unlink", 3, left=left, right=right, until=streams.at(1)
        ),
        operate.unlink(streams.at(3), identifier=left): act(0, "unlink", 3, identifier=left),
        operate.unlink(streams.at(3), message="segment/m1"): act(0, "unlink", 3, message="segment/m1"),
        operate.link(streams.at(3), left, right): act(0, "link", 3, left=left, right=right),
        operate.restore(streams.at(3), "act1"): act(0, "restore", 3, revocation="act1"),
    }
    for one, same in wanted.items():
        assert one.source == same.source
        assert read_act(one)._replace(id="") == read_act(same)._replace(id="")


# -- rebuilding and looking back ----------------------------------------------------------------------------------


@settings(WORLDS, max_examples=100)
@given(world=MIXED)
def test_a_rebuild_ends_where_the_store_was(scratch: Store, world: World) -> None:
    with undone(scratch) as tx:
        play(tx, world)
        before = (exports(tx, world.house), identity_counters(tx), derived(tx))
        derive.rebuild(tx, world.house.rules, world.house.keys)
        assert (exports(tx, world.house), identity_counters(tx), derived(tx)) == before


@settings(WORLDS, max_examples=60)
@given(world=worlds(acts=3, themes=EVERYTHING, numbers=UNASKING), other=st.sampled_from(UNASKING))
def test_a_rebuild_by_other_rules_ends_as_if_they_had_always_been_these(
    scratch: Store, world: World, other: int
) -> None:
    with undone(scratch) as tx:
        oracle = play(tx, world)
        derive.rebuild(tx, HOUSES[other].rules, HOUSES[other].keys)
        compare(
            tx,
            dataclasses.replace(world, number=other),
            dataclasses.replace(oracle, table=streams.identity_of(HOUSES[other])),
        )


@pytest.mark.slow
@settings(WORLDS, max_examples=40)
@given(world=MIXED, data=st.data())
def test_looking_back_tells_what_a_run_that_stopped_there_tells(
    scratch: Store, world: World, data: st.DataObject
) -> None:
    with undone(scratch) as tx:
        oracle = play(tx, world)
        t = data.draw(st.sampled_from([*times_of(oracle), streams.at(0), streams.at(2.5)]))
        then = oracle.as_of(t)
        looked_back = exports(tx, world.house, as_of=t)
    compare_exports(looked_back, world.house, then, times_of(then))
    until_then = {one.key for one in then.messages} | {f"operator/{one.id}" for one in then.acts}
    with undone(scratch) as tx:
        streams.take_in(tx, [one for one in world.everything if _key(one) in until_then], world.house)
        assert exports(tx, world.house) == looked_back


def _key(one: Received) -> str:
    return f"{one.source}/{one.message_id}"


def identity_counters(tx: sa.Connection) -> dict[str, int]:
    return {name: counters.read(tx).get(name, 0) for name in ("profiles", "links", "refused_links")}


def derived(tx: sa.Connection) -> list[Sequence[Any]]:
    """Every row that is the record's or was derived from it."""
    tables = (identifiers, links, sightings)
    return [tuple(row) for table in tables for row in tx.execute(sa.select(table).order_by(*table.primary_key))]


def record(tx: sa.Connection) -> list[tuple[Any, ...]]:
    """The same by name: numbers of rows, and what hangs on them, depend on the order of arrival."""
    names = {row.id: (row.type, row.value) for row in tx.execute(sa.select(identifiers))}
    numbered = {"id", "a_id", "b_id", "component_id", "email_id"}
    found: list[tuple[Any, ...]] = []
    for table in (identifiers, links, sightings):
        columns = [column.name for column in table.columns if column.name not in numbered]
        for row in tx.execute(sa.select(table)).mappings():
            ends = [names[row[name]] for name in ("id", "a_id", "b_id", "email_id") if row.get(name) is not None]
            told = () if table is links and not row["stands"] else tuple(row[name] for name in columns)
            found.append((table.name, *ends, *((row["kind"],) if "kind" in row else ()), *map(_plain, told)))
    return sorted(found, key=str)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value
