"""Random small worlds of link tokens: landings, answers, machines, forwards and sign-ups in any order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector import migrate
from connector.store import Store, open_store
from tests.oracle_check import compare, exports, invariants
from tests.streams import known
from tests.worlds import ANY, THEMES, WORLDS, World, play, reordered, undone, worlds

EXCHANGES = worlds(acts=2, themes=THEMES["exchanges"], numbers=ANY)


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
@settings(WORLDS, max_examples=250)
@given(world=EXCHANGES)
def test_a_browser_with_a_token_is_believed_as_far_as_the_oracle_does(scratch: Store, world: World) -> None:
    check_world(scratch, world)


@pytest.mark.slow
@settings(WORLDS, max_examples=25)
@given(world=EXCHANGES)
def test_a_browser_with_a_token_is_believed_as_far_on_postgresql(postgres_store: Store, world: World) -> None:
    check_world(postgres_store, world)


@pytest.mark.long
@settings(WORLDS, max_examples=5_000)
@given(world=EXCHANGES)
def test_thousands_of_worlds_of_tokens_end_as_the_oracle_says(scratch: Store, world: World) -> None:
    check_world(scratch, world)


@pytest.mark.slow
@settings(WORLDS, max_examples=60)
@given(world=EXCHANGES, data=st.data())
def test_whichever_came_first_ends_in_the_same_bytes(scratch: Store, world: World, data: st.DataObject) -> None:
    with undone(scratch) as tx:
        oracle = play(tx, world)
        times = [one.at for one in oracle.messages]
        first = known(tx, world.house, times), exports(tx, world.house)
    with undone(scratch) as tx:
        play(tx, reordered(data.draw, world))
        assert (known(tx, world.house, times), exports(tx, world.house)) == first
