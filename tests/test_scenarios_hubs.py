"""Hubs: what too many stronger identifiers were seen with is nobody's, visibly, until the limit says otherwise."""

from __future__ import annotations

from connector import answers, derive, held, operate
from connector.house import House
from connector.messages import HOUR, Received
from connector.resources import shipped_mappings
from connector.store import Store
from tests import streams
from tests.scenes import JANE, JOE, Scene, browser, email, user
from tests.streams import NOW, identify, klaviyo, page, sourced

SHIPPED = (shipped_mappings() / "identity.toml").read_text()


def limited(limit: int) -> House:
    return streams.house((), (), (("identity.toml", SHIPPED.replace("hub_limit = 20", f"hub_limit = {limit}")),))


def adopt(scene: Scene, house: House) -> bool:
    """The connector starts again with other settings."""
    scene.house = house
    with scene.store.writing() as tx:
        return derive.adopt(tx, house.rules, house.keys)


def test_a_kiosk_is_nobodys_from_the_twenty_first_user_on(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = sourced(99, JANE)
    logins = [page(n, "kiosk", f"u{n}") for n in range(20)]
    scene.happens(identify(0, "own", "u0", JANE), *logins, event)
    assert scene.owner(browser("kiosk"), 5) == {"u5"}
    assert scene.hubs() == []
    scene.happens(page(50, "kiosk", "u20"))
    assert [scene.owner(browser("kiosk"), minutes) for minutes in (5, 50, 99)] == [set(), set(), set()]
    assert scene.hubs() == [("kiosk", 21, 20)]
    assert scene.people() == {frozenset({"u0", JANE}), *(frozenset({f"u{n}"}) for n in range(1, 21))}
    assert scene.visitor(event) == ("u0", "own", JANE, False)


def test_what_was_sent_to_a_kiosk_leaves_with_the_user_id_alone(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, limited(2))
    event = sourced(1.5, JANE)
    scene.happens(identify(0, "kiosk", "u0", JANE), page(1, "kiosk", "u1"), event)
    assert scene.visitor(event) == ("u0", None, JANE, False), "at that time the browser was u1's"
    before = sourced(0.5, JANE)
    scene.happens(before)
    assert scene.visitor(before) == ("u0", "kiosk", JANE, False)
    scene.happens(page(9, "kiosk", "u2"))
    assert scene.visitor(before) == ("u0", None, JANE, False)


def test_an_address_of_everybodys_tests_with_21_user_ids_joins_nobody(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    shared = "test@company.com"
    event = sourced(99, shared)
    scene.happens(*(identify(n, f"B{n}", f"u{n}", shared) for n in range(21)), event)
    assert scene.people() == {frozenset({f"u{n}"}) for n in range(21)}
    assert scene.refused() == set(), "a hub's links are set aside, none of them is refused"
    assert scene.hubs() == [(shared, 21, 20)]
    assert scene.visitor(event) == (None, None, None, False)
    told = scene.profile(email(shared))
    assert told is not None
    assert (told["profile_id"], told["links"], len(told["refused"])) == (None, [], 21)
    assert all("21 stronger identifiers" in one["because"] for one in told["refused"])
    with sqlite_store.reading() as tx:
        assert shared not in {
            one["value"] for person in answers.export_profiles(tx, scene.house) for one in person["identifiers"]
        }


def test_an_event_to_a_shared_address_is_its_vendor_profiles(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, limited(2))
    event = klaviyo(99, "test@company.com", "P")
    scene.happens(*(identify(n, None, f"u{n}", "test@company.com") for n in range(3)))
    scene.happens(identify(5, "B1", "u9", JANE), klaviyo(6, JANE, "P"), event)
    assert scene.visitor(event) == ("u9", "B1", JANE, False), "as if no address of the mail was known"


def test_a_shared_address_keeps_two_apart_and_the_answer_says_so(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, limited(2))
    scene.happens(*(identify(n, None, f"u{n}", "test@company.com") for n in range(3)))
    told = scene.apart("u0", "u1")
    (because,) = told["kept_apart_by"]
    assert (told["joined"], because["hub"]["value"], because["hub"]["degree"]) == (False, "test@company.com", 3)
    assert any("hub_limit of 3 or more in [types.email]" in one for one in told["would_change"])
    direct = scene.apart("u0", "test@company.com")
    assert direct["joined"] is False
    assert "hub_limit of 3" in " ".join(direct["would_change"])


def test_a_raised_limit_releases_a_hub_with_its_whole_history(store: Store) -> None:
    scene = Scene(store, limited(2))
    event = sourced(1.5, "shared@x.test")
    logins: list[Received] = [identify(n, "kiosk", f"u{n}", "shared@x.test") for n in range(3)]
    scene.happens(*logins, event)
    assert scene.hubs() == [("kiosk", 4, 2), ("shared@x.test", 3, 2)] or scene.hubs() == [
        ("shared@x.test", 3, 2),
        ("kiosk", 3, 2),
    ]
    assert scene.visitor(event) == (None, None, None, False)
    assert adopt(scene, limited(4)) is True
    assert adopt(scene, limited(4)) is False, "once is enough"
    scene.happens(page(9, "kiosk", "u0"))
    assert scene.hubs() == []
    assert scene.people() == {frozenset({"u0", "shared@x.test"}), frozenset({"u1"}), frozenset({"u2"})}
    assert scene.visitor(event) == ("u1", "kiosk", "shared@x.test", False)
    assert adopt(scene, limited(2)) is True
    scene.happens()
    assert scene.visitor(event) == (None, None, None, False)


def test_what_was_held_for_a_hub_leaves_as_its_owners_once_the_limit_was_raised(sqlite_store: Store) -> None:
    """Settings are no evidence: it leaves with the next news of the address, at the latest when its time is up."""
    scene = Scene(sqlite_store, limited(2))
    logins = [identify(n, f"B{n}", f"u{n}", "shared@x.test") for n in range(3)]
    scene.happens(*logins, sourced(1.5, "shared@x.test"))
    assert scene.leaves() == [("held", None, None, None)]
    adopt(scene, limited(4))
    with sqlite_store.writing() as tx:
        held.expire(tx, scene.house, NOW + 72 * HOUR)
    assert scene.leaves() == [("pending", "u1", "B1", "shared@x.test")]


def test_an_event_that_came_with_a_kiosks_name_keeps_it(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, limited(2))
    event = sourced(50, "kiosk", email=JANE)
    scene.happens(identify(0, "own", "u9", JANE), *(page(n, "kiosk", f"u{n}") for n in range(3)), event)
    assert scene.visitor(event) == (None, "kiosk", JANE, False)


def test_a_hub_is_released_when_links_of_it_are_taken_back(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, limited(2))
    event = sourced(1.5, JANE)
    scene.happens(identify(0, "kiosk", "u0", JANE), page(1, "kiosk", "u1"), page(2, "kiosk", "u2"), event)
    assert scene.owner(browser("kiosk"), 0.5) == set()
    act = operate.unlink(NOW, left=user("u2"), right=browser("kiosk"), reason="a test")
    scene.happens(act)
    assert scene.hubs() == []
    assert scene.owner(browser("kiosk"), 0.5) == {"u0", JANE}
    scene.happens(operate.restore(NOW + 1, act.message_id))
    assert scene.hubs() == [("kiosk", 3, 2)]
    assert scene.owner(browser("kiosk"), 0.5) == set()


def test_a_user_with_very_many_browsers_keeps_their_email(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = sourced(500, JANE)
    visits = [page(n, f"B{n}", "u1") for n in range(300)]
    scene.arrives(identify(0, "B0", "u1", JANE))
    streams.feed(sqlite_store, *visits, event)
    scene.received += [*visits, event]
    assert scene.people() == {frozenset({"u1", JANE})}
    assert scene.hubs() == []
    assert scene.visitor(event) == ("u1", "B299", JANE, False)


def test_a_blocked_value_that_was_taken_in_before_is_nobodys_once_it_is_blocked(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.happens(identify(0, "B1", "u1", JOE), identify(1, "B1", "u1", "void@x.test"))
    blocked = SHIPPED.replace('    "-1",', '    "-1", "void@.*",')
    assert adopt(scene, streams.house((), (), (("identity.toml", blocked),))) is True
    assert scene.people() == {frozenset({"u1", JOE})}
    with sqlite_store.reading() as tx:
        (entry,) = answers.hubs(tx, scene.house)["entries"]
    assert (entry["value"], entry["degree"]) == ("void@x.test", 1)
    assert "blocked" in entry["because"]
    assert adopt(scene, streams.house()) is True
    assert scene.people() == {frozenset({"u1", JOE, "void@x.test"})}
