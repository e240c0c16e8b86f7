"""Random small worlds: whatever is received, in whatever order, the stages say what the oracle says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector import migrate, schema
from connector.messages import Json
from connector.store import Store, open_store
from tests.oracle_check import compare, exports, invariants
from tests.streams import known
from tests.worlds import WORLDS, World, play, reordered, times_of, undone, worlds


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


@pytest.mark.slow
@settings(WORLDS, max_examples=350)
@given(world=worlds())
def test_every_small_world_ends_as_the_oracle_says(scratch: Store, world: World) -> None:
    check_world(scratch, world)


@pytest.mark.slow
@settings(WORLDS, max_examples=60)
@given(world=worlds())
def test_every_small_world_ends_as_the_oracle_says_on_postgresql(postgres_store: Store, world: World) -> None:
    check_world(postgres_store, world)


@pytest.mark.long
@settings(WORLDS, max_examples=10_000)
@given(world=worlds(size=26))
def test_thousands_of_worlds_end_as_the_oracle_says(scratch: Store, world: World) -> None:
    check_world(scratch, world)


@pytest.mark.long
@settings(WORLDS, max_examples=2_000)
@given(world=worlds(size=26))
def test_thousands_of_worlds_end_as_the_oracle_says_on_postgresql(postgres_store: Store, world: World) -> None:
    check_world(postgres_store, world)


@settings(WORLDS, max_examples=60)
@given(world=worlds(), data=st.data())
def test_another_order_in_other_batches_ends_in_the_same_state(
    scratch: Store, world: World, data: st.DataObject
) -> None:
    ends = []
    for one in (world, reordered(data.draw, world)):
        with undone(scratch) as tx:
            oracle = play(tx, one)
            ends.append((known(tx, one.house, times_of(oracle)), exports(tx, one.house)))
    assert ends[0] == ends[1]


@settings(WORLDS, max_examples=60)
@given(world=worlds())
def test_two_known_people_are_never_one_and_no_limit_is_exceeded(scratch: Store, world: World) -> None:
    with undone(scratch) as tx:
        play(tx, world)
        for person in known(tx, world.house).people:
            for type_name, limit in world.house.rules.limits.items():
                assert sum(one.type == type_name for one in person) <= limit


# -- validity ---------------------------------------------------------------------------------------------------------

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3),
    st.sampled_from(["", "track", "identify", "page", "alias", "delete", "U1"]),
    st.lists(st.integers(), max_size=1), st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)  # fmt: skip
KEYS = [
    "type", "event", "userId", "anonymousId", "previousId", "groupId", "properties", "traits", "context",
    "integrations", "messageId", "timestamp", "unheardOf",
]  # fmt: skip
CALLS = st.builds(
    lambda kind, loose: {"type": kind, **loose} if kind else loose,
    st.sampled_from(["track", "identify", "page", "screen", "group", "alias", "delete", None]),
    st.dictionaries(st.sampled_from(KEYS[1:]), VALUES, max_size=6),
)


@settings(max_examples=1_500)
@given(CALLS)
def test_what_the_cheap_check_admits_the_schema_admits_and_leaves_as_it_is(body: dict[str, Json]) -> None:
    if schema._is_ordinary(body):
        assert {**body, **cast(Json, schema.CALL.load(dict(body)))} == body


@settings(max_examples=50)
@given(CALLS)
def test_the_cheap_check_is_worth_having(body: dict[str, Json]) -> None:
    """It admits every ordinary event, or it would check nothing."""
    everyday = {"type": "track", "event": "Order Completed", "anonymousId": "B1", "properties": {}, "context": body}
    assert schema._is_ordinary(everyday)
