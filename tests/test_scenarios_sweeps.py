"""A scanner that follows every link of a mail: which clicks are its sweep, and whose landing that spoils."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest

from connector.messages import Received
from connector.store import Store
from tests import streams
from tests.scenes import JANE, JOE, Scene
from tests.streams import clicked, customerio, klaviyo, sourced
from tests.sweeping import A, B, C, D, empty, flags, keys, landing, sweep, swept

# -- what is a sweep ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moments", "links", "are"),
    [
        ((0, 0.5), (A, B), ()),
        ((0, 0.5, 1.0), (A, B, C), (0, 1, 2)),
        ((0, 0.5, 1.001), (A, B, C), ()),
        ((0, 0, 0), (A, B, C), (0, 1, 2)),
        ((0, 0.1, 0.2), (A, A, A), ()),
        ((0, 0.1, 0.2), (A, B, f"{A}#reviews"), ()),
        ((0, 0.1, 0.2), (A, B, f"{A}?reviews"), (0, 1, 2)),
        ((0, 0.9, 1.0, 1.1), (A, A, B, C), (1, 2, 3)),
        ((0, 0.9, 1.8, 2.7), (A, B, C, D), ()),
        ((0, 0.5, 1.0, 1.5), (A, B, C, D), (0, 1, 2, 3)),
        ((0, 0.5, 1.0, 5.0), (A, B, C, D), (0, 1, 2)),
    ],
)
def test_so_many_different_links_within_so_long_are_a_sweep(
    sqlite_store: Store, moments: Sequence[float], links: Sequence[str], are: Sequence[int]
) -> None:
    scene = Scene(sqlite_store)
    several = [clicked(moment, link, JANE, "P") for moment, link in zip(moments, links, strict=True)]
    scene.happens(*several)
    assert swept(scene) == keys(*(several[number] for number in are))


def test_a_link_that_is_clicked_again_in_the_sweep_is_swept_with_it(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    again, much_later = clicked(0.9, B, JANE, "P"), clicked(30, B, JANE, "P")
    several = sweep()
    scene.happens(*several, again, much_later)
    assert swept(scene) == keys(*several, again)


@pytest.mark.parametrize(
    "other",
    [
        clicked(0.8, C, JANE, "P", mail="M2"),
        clicked(0.8, C, JOE, "P"),
        clicked(0.8, C, None, "P"),
        sourced(0.8 / 60, JANE, event="Email Link Clicked", integration="Iterable", properties={"email_id": "M1"}),
        klaviyo(0.8 / 60, JANE, "P", "unsubscribed", properties={"URL": C}),
        klaviyo(0.8 / 60, JANE, "P", "opened_email", properties={"URL": C}),
    ],
)
def test_another_mail_another_addressee_or_no_click_makes_no_sweep(sqlite_store: Store, other: Received) -> None:
    scene = Scene(sqlite_store)
    scene.happens(clicked(0, A, JANE, "P"), clicked(0.4, B, JANE, "P"), other)
    assert swept(scene) == set()


def test_a_platform_whose_clock_ticks_in_seconds_is_swept_in_the_same_second_and_the_next(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)

    def click(seconds: float, link: str, mail: str) -> Received:
        return customerio(
            seconds / 60, JANE, JANE, metric="clicked", data={"href": link, "delivery_id": mail, "link_id": 7}
        )

    near = [click(0.9, A, "near"), click(1.1, B, "near"), click(1.9, C, "near")]
    far = [click(0.9, A, "far"), click(1.1, B, "far"), click(2.1, C, "far")]
    scene.happens(*near, *far)
    assert swept(scene) == keys(*near)


def test_a_platform_that_knows_campaign_and_link_ids_only_is_swept_by_these(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    several = [
        sourced(0, JANE, event="Email Link Clicked", properties={"campaign_id": 12, "link_id": number})
        for number in (1, 2, 3)
    ]
    nameless = [
        sourced(1, JANE, event="Email Link Clicked", properties={"link_id": number, "email_id": ""})
        for number in (1, 2, 3)
    ]
    scene.happens(*several, *nameless)
    assert swept(scene) == keys(*several)
    assert flags(scene, *nameless) == [("held", None)] * 3


def test_order_and_batches_do_not_decide_what_is_swept(sqlite_store: Store) -> None:
    several, later = [*sweep(), clicked(1.4, D, JANE, "P")], clicked(2.0, A, JANE, "P")
    found = set()
    for order in permutations([*several, later]):
        with sqlite_store.writing() as tx:
            empty(tx)
            for batch in (order[:2], order[2:]):
                streams.take_in(tx, batch, streams.default())
            found.add(streams.swept(tx))
    assert found == {frozenset(keys(*several))}


# -- who landed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("minutes", "chosen"), [(-1.01, "B1"), (-1.0, None), (0.0, None), (1.0, None), (1.02, "B1")])
def test_a_landing_within_a_minute_of_a_sweep_proves_nothing(store: Store, minutes: float, chosen: str | None) -> None:
    scene = Scene(store)
    event = klaviyo(50, JANE, "P")
    scene.happens(klaviyo(-9, JANE, "P"), landing(minutes, "B1"), event)
    assert scene.visitor(event)[1] == "B1", "nothing speaks against it yet"
    scene.happens(*[clicked(0, link, JANE, "P") for link in (A, B, C)])
    assert scene.visitor(event) == (None, chosen, None, False)


def test_a_landing_beside_clicks_that_are_no_sweep_counts(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = klaviyo(50, JANE, "P")
    scene.happens(klaviyo(-9, JANE, "P"), landing(0, "B1"), *sweep()[:2], clicked(5, C, JANE, "P"), event)
    assert scene.visitor(event) == (None, "B1", None, False)


def test_a_sweep_that_is_told_partly_without_the_profile_counts_for_the_profile(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = klaviyo(50, JANE, "P")
    nameless = [clicked(0, A, JANE), clicked(0, B, JANE)]
    scene.happens(klaviyo(-9, JANE, "P"), landing(0.5, "B1"), *nameless, clicked(0, C, JANE, "P"), event)
    assert scene.visitor(event) == (None, None, None, False)
