"""What becomes of a scanner's clicks: what leaves, what the log says, and what other rules or a forgetting change."""

from __future__ import annotations

import orjson
import pytest
import sqlalchemy as sa

from connector import answers, derive, held, inbox, operate, queue, sweeps
from connector.errors import MappingError
from connector.messages import DAY, MINUTE, Outcome
from connector.resources import shipped_mappings
from connector.store import Store
from connector.tables import clicks, machine_clicks
from connector.tables import inbox as inbox_rows
from tests import streams
from tests.scenes import JANE, JOE, Scene, email, user
from tests.streams import NOW, at, clicked, identify, klaviyo, sourced
from tests.sweeping import (
    LATE,
    SAID,
    SHIPPED,
    A,
    B,
    C,
    D,
    bodies,
    flags,
    keys,
    landing,
    notes,
    ruled,
    sweep,
    swept,
)

# -- what leaves -----------------------------------------------------------------------------------------------------


def test_three_links_of_a_mail_within_a_second_are_flagged_and_sent_on(store: Store) -> None:
    scene = Scene(store)
    several = sweep()
    scene.happens(identify(-5, "B1", "u1", JANE), *several)
    assert swept(scene) == keys(*several)
    assert flags(scene, *several) == [("pending", True)] * 3
    assert [notes(scene, one) for one in several] == [[SAID]] * 3
    assert [scene.visitor(one)[:2] for one in several] == [("u1", "B1")] * 3


def test_a_click_that_is_still_held_gains_the_flag_and_keeps_it_when_it_is_released(store: Store) -> None:
    scene = Scene(store)
    several = sweep()
    scene.happens(*several[:2])
    assert flags(scene, *several[:2]) == [("held", None)] * 2
    assert [notes(scene, one) for one in several[:2]] == [[], []]
    scene.happens(several[2])
    assert flags(scene, *several) == [("held", True)] * 3
    assert [notes(scene, one) for one in several] == [[SAID]] * 3
    scene.happens(identify(5, "B1", "u1", JANE))
    assert flags(scene, *several) == [("pending", True)] * 3
    assert all(bodies(scene)[one.message_id][1]["stitched_late"] for one in several)


def test_a_flagged_click_says_nothing_of_who_clicked(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    told = {"ip": "192.0.2.7", "userAgent": "Scanner/1.0", "library": {"name": "a"}}
    several = [
        sourced(0, JANE, event="Email Link Clicked", context=told, properties={"email_id": "M", "link_url": link})
        for link in (A, B, C)
    ]
    scene.happens(*several[:1])
    (_, body), *_ = scene.deliveries()
    assert body is not None
    assert (body["context"]["ip"], body["context"]["userAgent"]) == ("192.0.2.7", "Scanner/1.0")
    scene.happens(*several[1:])
    contexts = [body["context"] for _, body in scene.deliveries() if body is not None]
    assert [sorted(one) for one in contexts] == [["connector", "integration", "library"]] * 3


def test_a_click_that_left_stays_as_it_left_and_one_that_waits_to_be_sent_gains_the_flag(store: Store) -> None:
    scene = Scene(store)
    gone, waits, last = sweep()
    scene.happens(identify(-5, "B1", "u1", JANE), gone)
    before = scene.deliveries()
    scene.settle("delivered")
    scene.happens(waits)
    scene.happens(last)
    assert scene.deliveries()[0] == ("delivered", before[0][1])
    assert flags(scene, gone, waits, last) == [("delivered", None), ("pending", True), ("pending", True)]
    assert [notes(scene, one) for one in (gone, waits, last)] == [[LATE], [SAID], [SAID]]
    assert swept(scene) == keys(gone, waits, last)


def test_a_click_that_is_being_sent_is_left_alone(store: Store) -> None:
    scene = Scene(store)
    first, second, third = sweep()
    scene.happens(identify(-5, "B1", "u1", JANE), first, second)
    with store.writing() as tx:
        queue.claim(tx, "segment", limit=1, now=NOW + DAY, claimer="a test", for_ms=MINUTE)
    scene.happens(third)
    assert flags(scene, first, second, third) == [("pending", None), ("pending", True), ("pending", True)]
    assert notes(scene, first) == [LATE]


def test_the_identify_that_joins_an_opaque_id_is_no_click(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    first, *others = sweep()
    scene.arrives(first)
    with sqlite_store.writing() as tx:
        held.expire(tx, scene.house, NOW + 4 * DAY)
    scene.settle("delivered")
    scene.arrives(identify(-5, "B1", "u1", JANE))
    before = scene.deliveries()
    assert [(status, body and body["type"]) for status, body in before] == [
        ("delivered", "track"),
        ("pending", "identify"),
    ]
    scene.arrives(*others)
    assert scene.deliveries()[:2] == before
    assert notes(scene, first) == [LATE]


def test_what_is_being_flagged_is_not_sent_meanwhile(postgres_store: Store) -> None:
    scene = Scene(postgres_store)
    first, second, third = sweep()
    scene.arrives(identify(-5, "B1", "u1", JANE), first, second)
    sender = {"limit": 9, "now": NOW + DAY, "for_ms": MINUTE}
    with postgres_store.writing() as tx:
        streams.take_in(tx, [third], scene.house)
        with postgres_store.writing() as beside:
            assert queue.claim(beside, "segment", claimer="too early", **sender) == []
    with postgres_store.writing() as tx:
        claimed = queue.claim(tx, "segment", claimer="after it", **sender)
    assert [orjson.loads(one.body)["properties"]["machine_click"] for one in claimed] == [True] * 3


def test_a_click_that_was_tried_already_is_frozen(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    first, second, third = sweep()
    scene.happens(identify(-5, "B1", "u1", JANE), first)
    with sqlite_store.writing() as tx:
        claimed = queue.claim(tx, "segment", limit=1, now=NOW + DAY, claimer="a test", for_ms=MINUTE)
        refused = queue.postponed(claimed, "refused", "503", NOW + DAY)
        queue.settle(tx, "segment", [refused], claimer="a test", now=NOW + DAY)
    scene.happens(second, third)
    assert flags(scene, first, second, third) == [("pending", None), ("pending", True), ("pending", True)]
    assert notes(scene, first) == [LATE]


def test_an_unsubscription_in_the_middle_of_a_sweep_goes_on_untouched(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    others = [
        klaviyo(0.5 / 60, JANE, "P", word, properties={"URL": D}, message_id=word)
        for word in ("unsubscribed", "marked_email_as_spam")
    ]
    scene.happens(identify(-5, "B1", "u1", JANE), *others)
    before = bodies(scene)
    scene.happens(*sweep())
    after = bodies(scene)
    assert {name: after[name] for name in before} == before
    assert {one.message_id for one in others} == before.keys()
    assert [notes(scene, one) for one in others] == [[], []]


def test_what_the_platform_flagged_itself_stays_the_platforms_word(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    flagged = clicked(0, A, JANE, "P", properties={"Bot Click": True})
    scene.happens(flagged, *sweep()[1:])
    with sqlite_store.reading() as tx:
        assert [one for (one,) in tx.execute(sa.select(machine_clicks.c.at))] == [at(0)]
        assert len(streams.swept(tx)) == 3


# -- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "are"),
    [
        ({"sweep_links": 2, "sweep_within": '"2s"'}, ["pair", "three"]),
        ({"sweep_links": 2}, ["three"]),
        ({"sweep_within": '"0s"'}, []),
        ({"sweep_links": 4}, []),
        ({"sweep_links": 0}, []),
    ],
)
def test_other_settings_decide_otherwise(sqlite_store: Store, settings: dict[str, object], are: list[str]) -> None:
    clicks_of = {"pair": [clicked(0, A, JANE, "P"), clicked(2, B, JANE, "P")], "three": sweep(60)}
    scene = Scene(sqlite_store, ruled(**settings))
    scene.happens(*clicks_of["pair"], *clicks_of["three"])
    assert swept(scene) == keys(*(one for name in are for one in clicks_of[name]))


def test_settings_that_change_hold_for_the_whole_history(store: Store) -> None:
    several = sweep()
    off, on = ruled(sweep_links=0), streams.default()
    for house in (off, on):
        with store.writing() as tx:
            derive.adopt(tx, house.rules, house.keys)
        streams.feed(store, *several, house=house)
    with store.writing() as tx:
        assert streams.swept(tx) == keys(*several)
        assert derive.adopt(tx, off.rules, off.keys)
        assert streams.swept(tx) == frozenset()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("sweep_links = 1", "expected a whole number from 2, or 0 for no such rule, found 1"),
        ("sweep_links = -3", "expected a whole number from 2, or 0 for no such rule, found -3"),
        ("sweep_links = true", "expected a whole number from 2, or 0 for no such rule, found True"),
        ("sweep_within = 1", "expected a duration such as 7d, 12h or 60s, of at most 60s, found 1"),
        ('sweep_within = "2m"', "expected a duration such as 7d, 12h or 60s, of at most 60s, found '2m'"),
    ],
)
def test_a_setting_that_cannot_be_says_what_can(setting: str, said: str) -> None:
    name = setting.partition(" = ")[0]
    with pytest.raises(MappingError) as told:
        ruled(**{name: setting.partition(" = ")[2]})
    assert str(told.value) == f"identity.toml: [clicked] {name}: {said}"


# -- looking back, and what would be ----------------------------------------------------------------------------------


def test_looking_back_a_sweep_counts_from_its_last_click(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    nameless = [clicked(59.5, A, JANE), clicked(59.9, B, JANE)]
    scene.happens(klaviyo(-9, JANE, "P"), landing(0.5, "B1"), *nameless, clicked(60.3, C, JANE, "P"))
    assert clicked_browsers(scene, at(0.99)) == ["B1"]
    assert clicked_browsers(scene, at(1)) == clicked_browsers(scene, None) == []


def clicked_browsers(scene: Scene, as_of: int | None) -> list[str]:
    """The browsers that all people had by a click, at a time or now."""
    with scene.store.reading() as tx:
        people = list(answers.export_profiles(tx, scene.house, as_of=as_of))
    return [turn["anonymous_id"] for person in people for turn in person["browsers"]]


EMAIL, VENDOR = 'paths = ["traits.email", "context.traits.email"]', "[types.vendor]"


@pytest.mark.parametrize(
    ("old", "new", "gone", "gained"),
    [
        (EMAIL, EMAIL.replace("]", ', "properties.email"]'), False, 0),
        (EMAIL, EMAIL.replace("]", ', "properties.email"]'), True, 0),
        (VENDOR, f'{VENDOR}\nnormalise = "lower"', False, 1),
    ],
    ids=["read again", "read again but for one", "resolved again under one name for two"],
)
def test_what_other_rules_would_make_of_the_history_counts_its_sweeps(
    sqlite_store: Store, old: str, new: str, gone: bool, gained: int
) -> None:
    scene = Scene(sqlite_store, ruled(sweep_links=0))
    janes = [klaviyo(-9, JANE, "P"), *sweep(), klaviyo(50, JANE, "P")]
    scene.happens(klaviyo(-10, JOE, "p"), landing(0, "B1"), *janes)
    assert {scene.visitor(one)[1] for one in janes} == {"B1"}
    if gone:
        with sqlite_store.writing() as tx:
            inbox.empty(tx, [1])
    lost = []
    for text in (SHIPPED.replace("sweep_links = 3", "sweep_links = 0"), SHIPPED):
        other = streams.house((), (), (("identity.toml", text.replace(old, new)),))
        with sqlite_store.reading() as tx:
            found = answers.what_if(tx, scene.house, other)["email_events"]
        lost.append([found[name] for name in ("gained", "lost", "moved")])
    assert lost == [[gained, 0, 0], [0, 5, 0]], "of the two with one profile, the other has its browser too"


# -- what is no evidence, and bounds ----------------------------------------------------------------------------------


def test_clicks_whose_time_is_only_their_receipt_are_no_sweep(sqlite_store: Store) -> None:
    """A clock that is ahead, or a time nobody can read, would make all clicks of a request simultaneous."""
    scene = Scene(sqlite_store)
    ahead = [clicked((NOW - at(0)) / 1000 + 30 + 20 * n, link, JANE) for n, link in enumerate((A, B, C))]
    scene.happens(*ahead)
    assert swept(scene) == set()


def test_one_click_told_by_two_channels_in_two_spellings_is_one_click(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, streams.house(("klaviyo",)))
    own = [clicked(second, link, JANE) for second, link in ((0, A), (0.6, B))]
    copies = [
        sourced(
            second / 60,
            JANE,
            event="Email Link Clicked",
            properties={"email_id": "M1", "link_url": f"{link}?utm_source=klaviyo"},
        )
        for second, link in ((0, A), (0.6, B))
    ]
    scene.happens(*own, *copies)
    assert swept(scene) == set()


def test_a_flag_that_comes_late_keeps_back_what_the_destination_does_not_want(store: Store) -> None:
    """Whether the clicks come together or one by one, none of them leaves."""
    text = (shipped_mappings() / "destinations/segment.toml").read_text()
    wanted = "subscribe = 'properties.machine_click = null or properties.machine_click = false'"
    house = streams.house((), (), (("destinations/segment.toml", f"{wanted}\n{text}"),))
    scene = Scene(store, house)
    scene.arrives(*sweep(), identify(1, "B1", email=JANE))
    assert [status for status, body in scene.deliveries() if body and body["event"] == "Email Link Clicked"] == []
    assert {scene.outcome(one) for one in scene.received[:3]} == {Outcome.IGNORED}


def test_very_many_earlier_clicks_are_one_question_to_the_database(store: Store) -> None:
    """A statement with a parameter for each would be refused, and the batch tried for ever."""
    with store.writing() as tx:
        assert sweeps._flag_earlier(tx, set(range(1, 300_001)), streams.default().rules) == {}


# -- forgetting ---------------------------------------------------------------------------------------------------


def test_who_is_forgotten_has_no_clicks_left_and_nobody_elses_go(store: Store) -> None:
    scene = Scene(store)
    joes = sweep(0, JOE, "Q")
    scene.arrives(*sweep(), *joes, operate.forget(NOW, email(JANE), at=at(1), reason="asked by letter"))
    with store.reading() as tx:
        assert tx.execute(sa.select(sa.func.count()).select_from(clicks)).scalar_one() == 3
    assert swept(scene) == keys(*joes)


def test_the_clicks_of_who_is_forgotten_on_an_address_that_others_have_too_are_theirs(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    theirs, others = (clicked(60 * minute, A, JANE) for minute in (5, 105))
    scene.arrives(identify(0, "B1", "u1", JANE), identify(100, "B2", "u2", JANE), theirs, others)
    scene.arrives(operate.forget(NOW, user("u1"), reason="asked by letter"))
    assert [scene.outcome(one) == Outcome.FORGOTTEN for one in (theirs, others)] == [True, False]
    with sqlite_store.reading() as tx:
        kept = set(tx.scalars(sa.select(clicks.c.inbox_id)))
        numbers = dict(tx.execute(sa.select(inbox_rows.c.message_id, inbox_rows.c.id)).all())
    assert kept == {numbers[others.message_id]}


def test_what_is_left_of_a_sweep_after_somebody_was_forgotten_up_to_its_middle_is_none(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    before, after = clicked(59.6, A, JANE, "P"), [clicked(60.0, B, JANE, "P"), clicked(60.4, C, JANE, "P")]
    scene.arrives(landing(1.5, "B1"), before, *after)
    assert swept(scene) == keys(before, *after)
    scene.arrives(operate.forget(NOW, email(JANE), at=at(0), reason="asked by letter"))
    assert swept(scene) == set()
    with sqlite_store.reading() as tx:
        assert tx.execute(sa.select(sa.func.count()).select_from(clicks)).scalar_one() == 2
