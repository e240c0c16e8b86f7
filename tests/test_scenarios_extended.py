"""A visitor who returns under a new anonymousId, and is recognised by another first-party id of the browser."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import sqlalchemy as sa

from connector import answers, derive, operate, orders, rules_file
from connector.devices import Devices, Recognised
from connector.errors import MappingError
from connector.graph import Graph
from connector.house import House
from connector.messages import Identifier, Received
from connector.resources import shipped_mappings
from connector.store import Store
from connector.tables import identifiers, links
from tests import streams
from tests.oracle_devices import Extended
from tests.scenes import JANE, JOE, browser, email, user
from tests.streams import NOW, at, call, feed, identify, klaviyo, md5, outcomes, page, sourced, visitors
from tests.test_properties_extended import SECTIONS, SHIPPED, under

HOUSE = under()
GA = Identifier("ga_client_id", "ga-1")


def on(*devices: str, **context: Any) -> dict[str, Any]:
    """A context with these ids of devices, ga-… and shop-…."""
    types = {"ga": "ga_client_id", "shop": "shopify_y"}
    listed = [
        {"type": types[one.partition("-")[0]], "id": one, "collection": "users", "encoding": "none"} for one in devices
    ]
    return {"context": {"externalIds": listed, **context}}


def known(device: str = "ga-1", minutes: float = 0, address: str = JANE) -> Received:
    """A broken client's call: it carries an address and a device, and no browser that was seen with the address."""
    return identify(minutes, "undefined", email=address, **on(device))


def visitor(store: Store, one: Received, house: House = HOUSE) -> streams.Visitor:
    with store.reading() as tx:
        return visitors(tx, house)[f"{one.source}/{one.message_id}"]


def told(store: Store, one: Received, house: House = HOUSE) -> dict[str, Any]:
    with store.reading() as tx:
        found = answers.message(tx, house, f"{one.source}/{one.message_id}")
    assert found is not None
    return found


def profile(store: Store, one: Identifier, house: House = HOUSE) -> dict[str, Any]:
    with store.reading() as tx:
        found = answers.profile(tx, house, *one)
    assert found is not None
    return found


def owner(store: Store, name: str, minutes: float = 50, house: House = HOUSE) -> set[str]:
    """Whose a browser is by its devices."""
    with store.reading() as tx:
        graph = Graph(tx, house.rules)
        one = graph.find([browser(name)])[browser(name)]
        graph.load([one.id])
        found = Devices(graph).owner(one.id, at(minutes))
        return {graph.nodes[each].identifier.value for each in graph.members(found.person)} if found else set()


def values(person: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["type"], one["value"]) for one in person["identifiers"]]


# -- who is recognised ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["the device with her", "the device on the new browser", "the mail"])
def test_a_returning_visitor_is_recognised_by_a_first_party_id_in_any_order(store: Store, first: str) -> None:
    event = sourced(50, JANE, messageId="e1")
    told_of = {"the device with her": known(), "the device on the new browser": page(30, "new", **on("ga-1"))}
    received = [*told_of.values(), event]
    ahead = {**told_of, "the mail": event}[first]
    for one in (ahead, *(one for one in received if one is not ahead)):
        feed(store, one, house=HOUSE)
    assert visitor(store, event) == (None, "new", None, False)
    assert outcomes(store)["e1"] == ("stitched_late" if first == "the mail" else "stitched")
    body = streams.left(store)["e1"]
    assert streams.said(body) == (None, "new", None), "it leaves alone: no userId, no address"


def test_the_reason_and_the_links_are_told(sqlite_store: Store) -> None:
    event = sourced(50, JANE)
    feed(sqlite_store, known(), page(30, "new", **on("ga-1")), page(40, "other", **on("ga-2")), event, house=HOUSE)
    found = told(sqlite_store, event)
    assert found["decision"]["reason"] == (
        "the same browser under a new anonymousId: its first-party id (ga_client_id) was seen with the addressee, and"
        " with this browser at 2026-09-11T00:30:00.000Z; it leaves alone"
    )
    assert [(one["kind"], one["left"]["value"], one["right"]["value"]) for one in found["decision"]["evidence"]] == [
        ("extended", JANE, "ga-1"),
        ("extended", "ga-1", "new"),
    ]
    assert [(one["anonymous_id"], one["chosen"], one["why"]) for one in found["considered"]] == [
        ("new", True, "the addressee's by its first-party id, which was seen with nobody else")
    ]


def test_of_several_browsers_the_one_of_the_latest_sighting_is_theirs(sqlite_store: Store) -> None:
    events = {minutes: sourced(minutes, JANE) for minutes in (-5, 15, 25, 35)}
    browsers = [page(minutes, f"at-{minutes}", **on("ga-1")) for minutes in (10, 20, 30)]
    feed(sqlite_store, known(), *browsers, *events.values(), house=HOUSE)
    chosen = {minutes: visitor(sqlite_store, one)[1] for minutes, one in events.items()}
    assert chosen == {-5: "at-10", 15: "at-10", 25: "at-20", 35: "at-30"}


def test_a_browser_that_was_seen_with_the_address_is_preferred(sqlite_store: Store) -> None:
    event = sourced(50, JANE)
    feed(sqlite_store, identify(0, "own", email=JANE, **on("ga-1")), page(30, "new", **on("ga-1")), event, house=HOUSE)
    assert visitor(sqlite_store, event) == (None, "own", JANE, False)
    assert owner(sqlite_store, "new") == {JANE}, "and yet the new one is known to be hers"


def test_where_a_user_id_is_known_it_leaves_as_it_always_did(sqlite_store: Store) -> None:
    event = sourced(50, JANE)
    feed(sqlite_store, identify(0, None, "u1", JANE, **on("ga-1")), page(30, "new", **on("ga-1")), event, house=HOUSE)
    assert visitor(sqlite_store, event) == ("u1", None, JANE, False)
    assert owner(sqlite_store, "new") == {"u1", JANE}


def test_an_event_that_names_the_vendors_profile_finds_the_browser_by_its_address(sqlite_store: Store) -> None:
    event = klaviyo(50, None, "P")
    feed(sqlite_store, known(), klaviyo(1, JANE, "P"), page(30, "new", **on("ga-1")), event, house=HOUSE)
    assert visitor(sqlite_store, event) == (None, "new", None, False)


def test_a_device_is_read_from_a_configured_property_too(sqlite_store: Store) -> None:
    event = sourced(50, JANE)
    feed(sqlite_store, known(), page(30, "new", properties={"ga_client_id": "ga-1"}), event, house=HOUSE)
    assert visitor(sqlite_store, event) == (None, "new", None, False)


def test_without_a_type_of_devices_nothing_of_them_is_used(sqlite_store: Store) -> None:
    event = sourced(50, JANE)
    feed(sqlite_store, known(), page(30, "new", **on("ga-1")), event)
    assert visitor(sqlite_store, event, streams.default()) == (None, None, None, False)
    with sqlite_store.reading() as tx:
        assert list(tx.scalars(sa.select(links.c.kind))) == []


# -- who is not -------------------------------------------------------------------------------------------------------


def test_a_shared_computer_names_nobody_whichever_of_the_two_comes_last(store: Store) -> None:
    event = sourced(50, JANE, messageId="e1")
    feed(store, known(), known(minutes=400, address=JOE), page(30, "new", **on("ga-1")), event, house=HOUSE)
    assert visitor(store, event) == (None, None, None, False)
    assert outcomes(store)["e1"] == "held"
    assert owner(store, "new") == set()
    assert profile(store, GA)["device"] == "it was seen with two people: a computer that is shared names nobody"
    assert [one["why"] for one in told(store, event)["considered"]] == [
        "its first-party id was seen with two people: a computer that is shared names nobody"
    ]


def test_a_device_on_a_browser_of_somebody_else_names_nobody(sqlite_store: Store) -> None:
    """No call carried the device together with Joe, but it was on a browser on which he was identified."""
    event = sourced(50, JANE)
    feed(sqlite_store, known(), page(30, "new", **on("ga-1")), page(20, "joes", **on("ga-1")), event, house=HOUSE)
    assert visitor(sqlite_store, event) == (None, "new", None, False)
    feed(sqlite_store, identify(900, "joes", "u2"), house=HOUSE)
    assert visitor(sqlite_store, event) == (None, None, None, False)


def test_a_browser_with_another_persons_device_is_not_recognised(sqlite_store: Store) -> None:
    event = sourced(50, JANE)
    feed(sqlite_store, known(), page(30, "new", **on("ga-1", "shop-9")), event, house=HOUSE)
    assert visitor(sqlite_store, event) == (None, "new", None, False)
    feed(sqlite_store, identify(500, None, "u2", **on("shop-9")), house=HOUSE)
    assert visitor(sqlite_store, event) == (None, None, None, False)
    assert [one["why"] for one in told(sqlite_store, event)["considered"]] == [
        "another person's first-party id was seen on it too"
    ]


def test_a_kiosks_device_names_nobody_once_it_was_on_too_many_browsers(sqlite_store: Store) -> None:
    house, event = under(2), sourced(50, JANE)
    feed(sqlite_store, known(), page(10, "b1", **on("ga-1")), page(20, "b2", **on("ga-1")), event, house=house)
    assert visitor(sqlite_store, event, house) == (None, "b2", None, False)
    feed(sqlite_store, page(90, "b3", **on("ga-1")), house=house)
    assert visitor(sqlite_store, event, house) == (None, None, None, False)
    assert profile(sqlite_store, GA, house)["device"] == (
        "it was seen with so many browsers or people that it names nobody"
    )


def test_a_device_that_no_call_carried_together_with_her_recognises_nobody(sqlite_store: Store) -> None:
    """It was on her browser, and a browser has several people: that is no more than a reason against others."""
    feed(sqlite_store, identify(0, "own", email=JANE), page(1, "own", **on("ga-1")), house=HOUSE)
    feed(sqlite_store, page(30, "new", **on("ga-1")), house=HOUSE)
    assert owner(sqlite_store, "new") == set()
    feed(sqlite_store, identify(60, "own", email=JANE, **on("ga-1")), house=HOUSE)
    assert owner(sqlite_store, "new") == {JANE}


def test_an_address_that_was_two_peoples_in_turns_counts_for_whose_it_was_at_each_time(sqlite_store: Store) -> None:
    feed(sqlite_store, identify(0, None, "u1", JANE), identify(20, None, "u2", JANE), house=HOUSE)
    feed(sqlite_store, known(minutes=5), page(30, "new", **on("ga-1")), house=HOUSE)
    assert owner(sqlite_store, "new") == {"u1", JANE}
    feed(sqlite_store, known(minutes=25), house=HOUSE)
    assert owner(sqlite_store, "new") == set(), "she was one person with the device, and another later"


def test_an_address_that_several_people_read_has_no_device(sqlite_store: Store) -> None:
    event = sourced(50, "info@x.test")
    feed(sqlite_store, identify(0, "undefined", email="info@x.test", **on("ga-1")), house=HOUSE)
    feed(sqlite_store, page(30, "new", **on("ga-1")), event, house=HOUSE)
    assert visitor(sqlite_store, event) == (None, None, None, False)


def test_a_device_that_an_email_platforms_call_carries_is_not_used(sqlite_store: Store) -> None:
    event, platform = sourced(50, JANE), {"integration": {"name": "Klaviyo"}}
    record = identify(0, None, "their-id", JANE, **on("ga-1", **platform))
    feed(sqlite_store, record, page(30, "new", **on("ga-1")), event, house=HOUSE)
    assert visitor(sqlite_store, event)[1] is None
    assert owner(sqlite_store, "new") == set()


def test_devices_never_join_people_and_are_no_profile_of_their_own(store: Store) -> None:
    calls = [identify(n, f"b{n}", f"u{n}", **on("ga-1")) for n in range(30)]
    feed(store, *calls, house=HOUSE)
    with store.reading() as tx:
        assert {frozenset(one.value for one in person) for person in streams.known(tx, HOUSE).people} == {
            frozenset({f"u{n}"}) for n in range(30)
        }
        assert streams.counted(tx)["profiles"] == 30
        assert answers.hubs(tx, HOUSE)["entries"] == []
        assert len(list(answers.export_profiles(tx, HOUSE))) == 30


def test_a_device_that_comes_with_a_hash_of_an_address_is_that_addressees(sqlite_store: Store) -> None:
    """The hash names Joe, whichever comes first, so that the computer has two people."""
    event = sourced(50, JANE)
    feed(sqlite_store, known(), page(5, md5(JOE), **on("ga-1")), page(30, "new", **on("ga-1")), event, house=HOUSE)
    assert visitor(sqlite_store, event) == (None, "new", None, False)
    feed(sqlite_store, identify(600, None, "u2", JOE), house=HOUSE)
    assert visitor(sqlite_store, event) == (None, None, None, False)


# -- consent ----------------------------------------------------------------------------------------------------------


def test_who_refused_on_the_new_browser_is_not_given_the_event(sqlite_store: Store) -> None:
    house = under(100, ("required = []", 'required = ["ads"]'))
    before, after = sourced(40, JANE, messageId="before"), sourced(60, JANE, messageId="after")
    refusal = {"consent": {"categoryPreferences": {"ads": False}}}
    feed(sqlite_store, known(), page(30, "new", **on("ga-1")), house=house)
    feed(sqlite_store, page(50, "new", **on("ga-1", **refusal)), before, after, house=house)
    assert visitor(sqlite_store, before, house) == (None, "new", None, False)
    assert visitor(sqlite_store, after, house) == (None, None, None, False)
    assert (outcomes(sqlite_store)["before"], outcomes(sqlite_store)["after"]) == ("stitched", "ignored")


def test_who_refused_with_the_same_device_elsewhere_is_not_given_the_event(sqlite_store: Store) -> None:
    house = under(100, ("required = []", 'required = ["ads"]'))
    event, refusal = sourced(60, JANE, messageId="e1"), {"consent": {"categoryPreferences": {"ads": False}}}
    feed(sqlite_store, known(), page(30, "new", **on("ga-1")), house=house)
    feed(sqlite_store, page(50, "third", **on("ga-1", **refusal)), event, house=house)
    assert outcomes(sqlite_store)["e1"] == "ignored"


# -- what operators do ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "named",
    [(GA, browser("new"), None), (email(JANE), GA, None), (None, None, GA)],
    ids=["the device and the browser", "the address and the device", "the device"],
)
def test_what_a_device_proved_can_be_taken_back_and_restored(
    store: Store, named: tuple[Identifier | None, Identifier | None, Identifier | None]
) -> None:
    event = sourced(50, JANE, messageId="e1")
    feed(store, known(), page(30, "new", **on("ga-1")), event, house=HOUSE)
    act = operate.unlink(NOW, left=named[0], right=named[1], identifier=named[2], reason="wrong")
    feed(store, act, house=HOUSE)
    assert visitor(store, event) == (None, None, None, False)
    assert outcomes(store)["e1"] == "held", "what had not left waits again"
    feed(store, operate.restore(NOW, act.message_id), house=HOUSE)
    assert visitor(store, event) == (None, "new", None, False)
    assert outcomes(store)["e1"] == "stitched_late"


def test_taking_back_the_second_persons_link_releases_what_waited(store: Store) -> None:
    event = sourced(50, JANE, messageId="e1")
    feed(store, known(), page(30, "new", **on("ga-1")), identify(20, "joes", "u2", **on("ga-1")), event, house=HOUSE)
    assert outcomes(store)["e1"] == "held"
    feed(store, operate.unlink(NOW, left=user("u2"), right=GA), house=HOUSE)
    assert outcomes(store)["e1"] == "held", "he was identified on a browser that has it"
    feed(store, operate.unlink(NOW, left=user("u2"), right=browser("joes")), house=HOUSE)
    assert outcomes(store)["e1"] == "stitched_late"
    assert visitor(store, event) == (None, "new", None, False)


def test_when_two_people_on_a_device_turn_out_to_be_one_what_waited_is_released(store: Store) -> None:
    event = sourced(50, JANE, messageId="e1")
    feed(store, known(), known(minutes=10, address=JOE), page(30, "new", **on("ga-1")), event, house=HOUSE)
    assert outcomes(store)["e1"] == "held"
    feed(store, operate.link(NOW, email(JANE), email(JOE)), house=HOUSE)
    assert outcomes(store)["e1"] == "stitched_late"


def test_a_device_is_linked_by_nobody(sqlite_store: Store) -> None:
    feed(sqlite_store, known(), page(30, "new", **on("ga-1")), house=HOUSE)
    for left, right in ((GA, user("u9")), (browser("new"), GA)):
        with pytest.raises(orders.BadOrder, match="a ga_client_id names a browser and never joins anybody"):
            orders.require_joinable(HOUSE.rules, left, right)
    feed(sqlite_store, operate.link(NOW, GA, user("u9")), house=HOUSE)
    with sqlite_store.reading() as tx:
        assert "manual" not in set(tx.scalars(sa.select(links.c.kind)))


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_a_persons_devices_are_listed_with_what_they_recognise(sqlite_store: Store) -> None:
    feed(sqlite_store, known(), known("shop-1", 1), page(30, "new", **on("ga-1")), house=HOUSE)
    found = profile(sqlite_store, email(JANE))
    assert values(found) == [("email", JANE), ("ga_client_id", "ga-1"), ("shopify_y", "shop-1")]
    extended = {(one["left"]["value"], one["right"]["value"]) for one in found["links"] if one["kind"] == "extended"}
    assert extended == {(JANE, "ga-1"), (JANE, "shop-1"), ("ga-1", "new")}
    assert profile(sqlite_store, GA)["profile_id"] == found["profile_id"]
    with sqlite_store.reading() as tx:
        (exported,) = answers.export_profiles(tx, HOUSE)
        assert exported == {name: told for name, told in found.items() if name != "timeline"}
        words = answers.explain(tx, HOUSE, "ga-1")["in_words"]
    assert any("ga_client_id ga-1 and anonymous_id new: a call carried this first-party id" in one for one in words)


def test_a_device_nobody_was_named_with_says_so(sqlite_store: Store) -> None:
    feed(sqlite_store, page(30, "new", **on("ga-1")), house=HOUSE)
    with sqlite_store.reading() as tx:
        found = answers.explain(tx, HOUSE, "ga-1")
    assert (found["what"], found["profile_id"], values(found)) == ("profile", None, [("ga_client_id", "ga-1")])
    assert found["in_words"] == [
        "ga_client_id ga-1 names a browser, and nobody's: no call of the site carried it together with somebody's"
        " name.",
        "Known from ga_client_id ga-1 and anonymous_id new: a call carried this first-party id of the browser too,"
        f" at 2026-09-11T00:30:00.000Z (message {found['links'][0]['proved_by']}).",
    ]


def test_what_joins_a_device_and_its_person_is_told(sqlite_store: Store) -> None:
    feed(sqlite_store, known(), page(30, "new", **on("ga-1")), identify(0, None, "u2", JOE), house=HOUSE)
    with sqlite_store.reading() as tx:
        joined = answers.explain_pair(tx, HOUSE, "ga-1", JANE)
        apart = answers.explain_pair(tx, HOUSE, "ga-1", "u2")
        recognised = answers.explain_pair(tx, HOUSE, "new", JANE)
    assert joined["joined"]
    assert [(one["kind"], one["left"]["value"], one["right"]["value"]) for one in joined["path"]] == [
        ("extended", JANE, "ga-1")
    ]
    profile_id = profile(sqlite_store, email(JANE))["profile_id"]
    assert apart["in_words"] == [
        "ga_client_id ga-1 and user_id u2 are not one person's.",
        f"ga_client_id ga-1 was seen with profile {profile_id} and nobody else.",
        "What would change it: a call of the site that carries both.",
    ]
    assert (
        f"By its first-party id (ga_client_id ga-1) it is recognised as profile {profile_id}'s."
        in (recognised["in_words"])
    )


def test_looking_back_tells_what_was_known_then(sqlite_store: Store) -> None:
    event = sourced(15, JANE)
    feed(sqlite_store, known(), page(10, "new", **on("ga-1")), event, known(minutes=60, address=JOE), house=HOUSE)
    assert visitor(sqlite_store, event) == (None, None, None, False)
    key = f"segment/{event.message_id}"
    with sqlite_store.reading() as tx:
        then = answers.message(tx, HOUSE, key, as_of=at(30))
        now = answers.message(tx, HOUSE, key, as_of=at(70))
        assert then is not None
        assert now is not None
        assert (then["visitor"]["anonymous_id"], now["visitor"]["anonymous_id"]) == ("new", None)
        person = answers.profile(tx, HOUSE, "email", JANE, as_of=at(30))
        assert person is not None
        assert ("ga_client_id", "ga-1") in values(person)
        exported = list(answers.export_profiles(tx, HOUSE, as_of=at(30)))
    assert [values(one) for one in exported] == [values(person)]


# -- other rules ------------------------------------------------------------------------------------------------------

JOINING = under(100, ("[types.ga_client_id]\ndevice = true\n", "[types.ga_client_id]\n"))
"""As somebody has it who takes a cookie for a person."""


def test_a_type_that_becomes_a_devices_joins_nobody_any_more(store: Store) -> None:
    feed(store, identify(0, "b1", "u1", JANE, **on("ga-1")), house=JOINING)
    feed(store, identify(1, "b2", email="joe@x.test", **on("ga-1")), page(2, "b3", **on("ga-1")), house=JOINING)
    with store.reading() as tx:
        assert len(streams.known(tx, JOINING).people) == 1
    with store.writing() as tx:
        assert derive.adopt(tx, HOUSE.rules, HOUSE.keys)
        assert {frozenset(one.value for one in person) for person in streams.known(tx, HOUSE).people} == {
            frozenset({"u1", JANE}),
            frozenset({"joe@x.test"}),
        }
        assert streams.known(tx, HOUSE, [at(5)]).owners[browser("b3"), at(5)] is None
    refused = profile(store, user("u1"))["refused"]
    assert [(one["right"]["value"], one["because"]) for one in refused] == [
        (
            "ga-1",
            "ga_client_id ga-1: it names a browser, not a person, and joins nobody (device = true in identity.toml)",
        )
    ]
    feed(store, page(9, "b4", "u1", **on("ga-1")), house=HOUSE)
    with store.writing() as tx:
        before = _derived(tx)
        derive.rebuild(tx, HOUSE.rules, HOUSE.keys)
        assert _derived(tx) == before
        assert len(streams.known(tx, HOUSE).people) == 2


def test_a_hub_that_is_none_any_more_does_not_bring_back_what_a_device_had_joined(store: Store) -> None:
    tight = ("hub_limit = 20", "hub_limit = 2")
    joining = under(100, tight, ("[types.ga_client_id]\ndevice = true\n", "[types.ga_client_id]\n"))
    feed(store, *(identify(n, f"b{n}", f"u{n}", JANE, **on(f"ga-{n}")) for n in range(3)), house=joining)
    feed(store, call(4, type="identify", anonymousId="b9", traits={"email": JANE}, **on("ga-9")), house=joining)
    house = under(100, tight)
    with store.writing() as tx:
        derive.adopt(tx, house.rules, house.keys)
    feed(store, operate.unlink(NOW, left=user("u0"), right=email(JANE)), house=house)
    with store.writing() as tx:
        assert answers.hubs(tx, house)["entries"] == []
        before = _derived(tx)
        derive.rebuild(tx, house.rules, house.keys)
        assert _derived(tx) == before


@pytest.mark.parametrize("before", [streams.default(), JOINING], ids=["not listed", "listed as a person's"])
def test_what_if_tells_whom_a_device_would_recognise(sqlite_store: Store, before: House) -> None:
    event = sourced(50, JANE, messageId="e1")
    feed(sqlite_store, known(), page(30, "new", **on("ga-1")), event, house=before)
    with sqlite_store.reading() as tx:
        found = answers.what_if(tx, before, HOUSE)
        was = visitors(tx, before)["segment/e1"]
    assert (found["profiles"]["before"], found["profiles"]["after"]) == (1, 1)
    assert found["email_events"] == {
        "gained": 1,
        "lost": 0,
        "moved": 0,
        "examples": [
            {
                "what": "gained",
                "message": "segment/e1",
                "before": {"user_id": None, "anonymous_id": None},
                "after": {"user_id": None, "anonymous_id": "new"},
            }
        ],
    }
    assert was == (None, None, None, False)


def _derived(tx: sa.Connection) -> tuple[list[Any], ...]:
    return tuple(
        [tuple(row) for row in tx.execute(sa.select(one).order_by(*one.primary_key))] for one in (links, identifiers)
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "a_client_id]\ndevice = true",
            'a_client_id]\ndevice = "yes"',
            "[types.ga_client_id] device: expected true or false, found 'yes'",
        ),
        (
            "\n[types.ga_client_id]\n",
            "\n[types.ga_client_id]\nlimit = 1\n",
            "[types.ga_client_id] limit: a person may have any number",
        ),
        ("hub_limit = 100", "hub_limit = 1001", "[types.ga_client_id] hub_limit: of a device at most 1000, found 1001"),
        ("[types.anonymous_id]", "[types.anonymous_id]\ndevice = true", "[types.anonymous_id] device: only a type of"),
        ("[types.user_id]", "[types.other_y]\ndevice = true\n[types.user_id]", "[types.other_y] must come after"),
        ('type = "email"\nkind = "hinted"', 'type = "shopify_y"\nkind = "hinted"', "type: 'shopify_y' is a device"),
    ],
)
def test_a_mistake_about_a_device_is_named(old: str, new: str, said: str) -> None:
    text = SHIPPED.replace("[types.anonymous_id]\n", SECTIONS.format(most=100).lstrip())
    rules_file.load(tomllib.loads(text))
    assert old in text
    with pytest.raises(MappingError) as caught:
        rules_file.load(tomllib.loads(text.replace(old, new, 1)))
    assert any(said in one for one in caught.value.mistakes), caught.value.mistakes


def test_a_change_of_devices_is_a_change_of_the_rules() -> None:
    assert len({HOUSE.rules.fingerprint, JOINING.rules.fingerprint, streams.default().rules.fingerprint}) == 3


# -- forgetting -------------------------------------------------------------------------------------------------------


def test_who_is_forgotten_takes_her_devices_and_what_they_recognise_along(store: Store) -> None:
    received = [
        known("ga-1"),
        page(30, "jane-new", **on("ga-1", "shop-1")),
        page(31, "jane-new", **on("shop-2")),
        identify(5, "joe-browser", "joe", JOE, **on("ga-7")),
        page(40, "nobodys", **on("ga-8")),
    ]
    feed(store, *received, house=HOUSE)
    feed(store, operate.forget(NOW, email(JANE), at=at(100)), house=HOUSE)
    with store.writing() as tx:
        left = set(tx.scalars(sa.select(identifiers.c.value)))
        assert left == {"joe-browser", "joe", JOE, "ga-7", "nobodys", "ga-8"}
        before = _derived(tx)
        derive.rebuild(tx, HOUSE.rules, HOUSE.keys)
        assert _derived(tx) == before
        assert not [row for row in tx.exec_driver_sql("select body from inbox") if "jane-new" in row[0]]
    feed(store, page(50, "jane-new", messageId="late", **on("ga-1")), house=HOUSE)
    assert outcomes(store)["late"] == "forgotten", "nothing of before comes back"


def test_who_is_forgotten_leaves_a_shared_computer_to_the_other(store: Store) -> None:
    feed(store, known(), identify(5, "joes", "joe", JOE, **on("ga-1")), page(30, "new", **on("ga-1")), house=HOUSE)
    feed(store, operate.forget(NOW, email(JANE), at=at(100)), house=HOUSE)
    with store.reading() as tx:
        left = set(tx.scalars(sa.select(identifiers.c.value)))
        rows = {(row[0], row[1]) for row in tx.execute(sa.select(links.c.a_id, links.c.b_id))}
        ends = {row.id: row.value for row in tx.execute(sa.select(identifiers))}
    assert left == {"joe", JOE, "joes", "ga-1", "new"}
    assert {(ends[a], ends[b]) for a, b in rows} == {
        ("joe", JOE), ("joe", "joes"), ("joe", "ga-1"), ("ga-1", "joes"), ("ga-1", "new"),
    }  # fmt: skip


def test_who_is_forgotten_by_a_device_that_is_theirs_alone_is_forgotten_whole(sqlite_store: Store) -> None:
    feed(sqlite_store, known(), page(30, "new", **on("ga-1")), house=HOUSE)
    feed(sqlite_store, operate.forget(NOW, GA, at=at(100)), house=HOUSE)
    with sqlite_store.reading() as tx:
        assert list(tx.scalars(sa.select(identifiers.c.value))) == []


def test_a_device_that_names_nobody_is_forgotten_by_itself(sqlite_store: Store) -> None:
    feed(sqlite_store, identify(0, "b1", "u1", **on("ga-1")), identify(0, "b2", "u2", **on("ga-1")), house=HOUSE)
    feed(sqlite_store, operate.forget(NOW, GA, at=at(100)), house=HOUSE)
    with sqlite_store.reading() as tx:
        assert set(tx.scalars(sa.select(identifiers.c.value))) == {"b1", "u1", "b2", "u2"}


# -- the shipped file -------------------------------------------------------------------------------------------------


def test_the_example_in_the_shipped_file_works_as_it_is() -> None:
    shipped = (shipped_mappings() / "identity.toml").read_text()
    lines = shipped.splitlines()
    start = next(number for number, line in enumerate(lines) if line == "#   [types.ga_client_id]")
    end = next(number for number in range(start, len(lines)) if not lines[number].startswith("#"))
    example = [line.removeprefix("#").strip() for line in lines[start:end]]
    text = "\n".join([*lines[:start], *example, *lines[end:]])
    assert rules_file.load(tomllib.loads(text)).devices == ("ga_client_id", "shopify_y")
    assert rules_file.load(tomllib.loads(shipped)).devices == ()


def test_the_oracle_says_the_same_of_the_story() -> None:
    event = sourced(50, JANE)
    story = (known(), page(30, "new", **on("ga-1")), event)
    assert Extended(story, HOUSE).visitors() == {f"segment/{event.message_id}": (None, "new", None, False)}


def test_recognition_names_the_evidence(sqlite_store: Store) -> None:
    feed(sqlite_store, known(), page(30, "new", **on("ga-1")), house=HOUSE)
    with sqlite_store.reading() as tx:
        graph = Graph(tx, HOUSE.rules)
        found = graph.find([browser("new"), email(JANE), GA])
        graph.load([one.id for one in found.values()])
        known_as = Devices(graph).owner(found[browser("new")].id, at(99))
        assert isinstance(known_as, Recognised)
        assert known_as.anchor == found[email(JANE)].id
        assert (known_as.seen.a, known_as.seen.b) == (found[GA].id, found[browser("new")].id)
        assert known_as.seen.at == at(30)
