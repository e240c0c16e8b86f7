"""Traits: per name the last by event time, and they go where the people go."""

from __future__ import annotations

from connector import operate
from connector.messages import Received
from connector.resources import shipped_mappings
from connector.store import Store
from tests import streams
from tests.scenes import JANE, JOE, Scene, browser, email, user
from tests.streams import NOW, call, identify, page


def told(minutes: float, anonymous: str | None, who: str | None, **traits: object) -> Received:
    return call(minutes, type="identify", anonymousId=anonymous, userId=who, traits=traits)


def test_the_last_value_of_each_trait_by_event_time_counts_whatever_arrives_last(sqlite_store: Store) -> None:
    """A late identify reverting an address is what Braze's users complain of."""
    scene = Scene(sqlite_store)
    scene.happens(
        told(20, None, "u1", city="Oslo", plan="pro"),
        told(10, None, "u1", city="Bergen", plan="free", age=30),
        told(15, None, "u1", age=None),
    )
    assert scene.traits(user("u1")) == {"age": None, "city": "Oslo", "plan": "pro"}


def test_inside_one_minute_too_the_last_counts_and_ties_are_told_apart_by_the_message(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.happens(
        call(1.2, type="identify", userId="u1", traits={"n": 2, "tie": "b"}, messageId="m-b"),
        call(1.1, type="identify", userId="u1", traits={"n": 1}, messageId="m-c"),
        call(1.2, type="identify", userId="u1", traits={"tie": "a"}, messageId="m-a"),
    )
    assert scene.traits(user("u1")) == {"n": 2, "tie": "b"}


def test_traits_are_merged_with_the_profile_and_split_with_it(store: Store) -> None:
    scene = Scene(store)
    scene.happens(told(0, "B1", None, email=JANE, name="Jane", city="Bergen"), told(5, "B2", "u1", city="Oslo"))
    assert scene.traits(email(JANE)) == {"city": "Bergen", "email": JANE, "name": "Jane"}
    assert scene.traits(user("u1")) == {"city": "Oslo"}
    scene.happens(told(6, None, "u1", email=JANE))
    merged = {"city": "Oslo", "email": JANE, "name": "Jane"}
    assert scene.traits(email(JANE)) == scene.traits(user("u1")) == merged
    act = operate.unlink(NOW, left=user("u1"), right=email(JANE))
    scene.happens(act)
    assert scene.traits(email(JANE)) == {"city": "Bergen", "email": JANE, "name": "Jane"}
    assert scene.traits(user("u1")) == {"city": "Oslo", "email": JANE}, "that its user said so is still known"
    scene.happens(operate.restore(NOW + 1, act.message_id))
    assert scene.traits(user("u1")) == merged


def test_what_is_told_on_a_shared_browser_is_whose_turn_it_is(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.happens(
        told(0, "B1", "u1", email=JANE), told(5, "B1", None, colour="red"),
        told(10, "B1", "u2", email=JOE), told(15, "B1", None, colour="blue", size="L"),
        page(20, "B1", "u1"), told(25, "B1", None, size="S"),
    )  # fmt: skip
    assert scene.traits(user("u1")) == {"colour": "red", "email": JANE, "size": "S"}
    assert scene.traits(user("u2")) == {"colour": "blue", "email": JOE, "size": "L"}


def test_what_is_told_of_an_address_that_changed_hands_is_its_owners_then(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.happens(
        told(0, None, "u1", email=JANE), told(5, "B1", None, email=JANE, plan="free"),
        told(10, None, "u2", email=JANE), told(15, "B2", None, email=JANE, plan="pro"),
    )  # fmt: skip
    assert scene.traits(user("u1"))["plan"] == "free"
    assert scene.traits(user("u2"))["plan"] == "pro"


def test_the_traits_of_groups_events_and_email_platforms_are_nobodys(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    context = {"integration": {"name": "Iterable"}, "traits": {"score": 1}}
    scene.happens(
        identify(0, "B1", "u1", JANE),
        call(1, type="group", userId="u1", groupId="G", traits={"industry": "Sails"}),
        call(2, type="track", event="Sale", userId="u1", traits={"vip": True}, context={"traits": {"vip": True}}),
        call(3, type="identify", userId="u1", traits={"email": JANE, "score": 9}, context=context),
    )
    assert scene.traits(user("u1")) == {"email": JANE}


def test_a_hub_has_no_traits_of_anybody(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    logins = [page(n, "kiosk", f"u{n}") for n in range(21)]
    scene.happens(told(0.5, "kiosk", None, colour="red"))
    scene.arrives(*logins)
    assert scene.traits(user("u0")) == {}
    assert scene.profile(browser("kiosk")) is not None
    assert scene.traits(browser("kiosk")) == {}


def test_what_is_told_while_consent_is_withdrawn_is_not_a_trait(sqlite_store: Store) -> None:
    text = (shipped_mappings() / "identity.toml").read_text().replace("required = []", 'required = ["ads"]')
    scene = Scene(sqlite_store, streams.house((), (), (("identity.toml", text),)))
    no, yes = ({"consent": {"categoryPreferences": {"ads": granted}}} for granted in (False, True))
    scene.happens(
        told(0, "B1", "u1", plan="free"),
        call(10, type="track", event="Banner", userId="u1", context=no),
        told(20, "B1", "u1", plan="secret", size="S"),
        call(30, type="track", event="Banner", userId="u1", context=yes),
        told(40, "B1", "u1", colour="red"),
    )
    assert scene.traits(user("u1")) == {"colour": "red", "plan": "free"}
