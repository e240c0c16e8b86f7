"""A day of traffic between two platforms that throttle, fail and hang, through a connector that is killed again and
again: at the end each of them holds what it should, once, and nothing else."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.demo.klaviyo_standin import KlaviyoStandIn
from connector.demo.segment import SegmentStandIn
from connector.store import Store
from tests.klaviyo_lives import Day
from tests.klaviyo_played import BEGAN, Played
from tests.klaviyo_story import Down, Story, site, track, with_connector
from tests.klaviyo_time import Clock
from tests.klaviyo_town import BACKFILL, Town
from tests.running import KLAVIYO_SECRET, WRITE_KEY


@pytest.fixture
def clock() -> Clock:
    return Clock(BEGAN)


@pytest.fixture
def segment(clock: Clock) -> Iterator[SegmentStandIn]:
    with SegmentStandIn(WRITE_KEY, clock=clock) as stand_in:
        yield stand_in


@pytest.fixture
def klaviyo(clock: Clock) -> Iterator[KlaviyoStandIn]:
    with KlaviyoStandIn(clock=clock) as stand_in:
        yield stand_in


def played(
    people: int, steps: int, hangs: int, store: Store, folder: Path, *around: Any, seed: int | None = None, **more: Any
) -> str:
    clock, segment, klaviyo = around
    seed = random.randrange(2**32) if seed is None else seed
    day = Day(seed, people, BEGAN)
    more["KLAVIYO_WEBHOOK_SECRETS"] = KLAVIYO_SECRET
    with Town(folder, store, segment, klaviyo, clock, BACKFILL, **more) as town:
        played = Played(day, town, segment, klaviyo, steps, hangs)
        began = time.monotonic()
        try:
            played.play()
            played.check()
        finally:
            account = f"seed: {seed}\n{played.account(time.monotonic() - began)}"
            sys.stdout.write(account)  # shown of a test that fails
        return account


@pytest.mark.slow
def test_a_day_ends_with_everything_where_it_belongs_once(
    store: Store, tmp_path: Path, clock: Clock, segment: SegmentStandIn, klaviyo: KlaviyoStandIn
) -> None:
    played(200, 16, 1, store, tmp_path, clock, segment, klaviyo)


def test_an_event_that_was_put_off_turns_no_address_back(sqlite_store: Store, tmp_path: Path) -> None:
    """An event's names change the profile at Klaviyo, and this one leaves after the new address was told."""
    story: Story = [
        site("identify", "10:00:00", "B1", "u1", email="old@mail.test"),
        Down("/api/events", 3),
        track("Song Played", "10:01:00", "B1", "u1"),
        site("identify", "10:01:05", "B1", "u1", email="new@mail.test"),
    ]
    assert with_connector(story, sqlite_store, tmp_path).klaviyo == [("u1", "new@mail.test", ["Song Played"])]


def test_two_accounts_with_one_address_make_no_profile_without_one(store: Store, tmp_path: Path) -> None:
    """Klaviyo keeps the address where it is, and would make a profile without one of the other's events."""
    story: Story = [
        site("identify", "10:00:00", "B1", "u1", email="ours@mail.test"),
        site("identify", "10:10:00", "B2", "u2", email="ours@mail.test"),
        track("Song Played", "10:20:00", "B2", "u2"),
        track("Song Liked", "10:30:00", "B2", "u2"),
    ]
    assert with_connector(story, store, tmp_path, dead=1).klaviyo == [("u1", "ours@mail.test", [])]


@pytest.mark.long
def test_a_day_of_ten_thousand_people_ends_with_everything_where_it_belongs_once(
    sqlite_store: Store,
    tmp_path: Path,
    clock: Clock,
    segment: SegmentStandIn,
    klaviyo: KlaviyoStandIn,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = played(10_000, 96, 6, sqlite_store, tmp_path, clock, segment, klaviyo, read_seconds=5.0)
    with capsys.disabled():
        sys.stdout.write(f"\n{told}\n")
