"""The oracle itself, on worlds small enough to be answered by reading the design."""

from __future__ import annotations

from typing import Any

from connector.messages import DAY, MINUTE, Email, Identifier, Message
from tests.oracle import Act, Oracle, Visitor
from tests.oracle_evidence import shipped

U1, U2, U3 = (Identifier("user_id", name) for name in ("u1", "u2", "u3"))
A, B = (Identifier("email", f"{name}@x.test") for name in "ab")
B1, B2 = (Identifier("anonymous_id", name) for name in ("B1", "B2"))
P1 = Identifier("klaviyo_profile_id", "P1")
NOBODY = Visitor(None, None, None, ambiguous=False)


def seen(minutes: float, *ids: Identifier, key: str = "", kind: str = "declared", **more: Any) -> Message:
    """A call with these identifiers, the strongest first."""
    at = round(minutes * MINUTE)
    links = tuple((ids[0], other, kind) for other in ids[1:])
    carried = ids if kind == "declared" else ()
    name = key or f"m{minutes}{''.join(one.value for one in ids)}"
    return Message(0, "s", name, "identify", at, at, identifiers=ids, links=links, carried=carried, **more)


def mailed(minutes: float, recipient: Identifier | None, profile: Identifier | None = None, **more: Any) -> Message:
    ids = tuple(one for one in (recipient, profile) if one)
    email = Email("klaviyo", recipient=recipient, vendor_profile=profile)
    return seen(minutes, *ids, kind="vendor", email=email, **more)


def landed(minutes: float, browser: Identifier, token: str = "k") -> Message:
    at = round(minutes * MINUTE)
    links, landings = ((P1, browser, "clicked"),), ((token, P1, browser),)
    ids = (browser, P1)
    name = f"l{minutes}{browser.value}"
    return Message(0, "s", name, "page", at, at, identifiers=ids, links=links, carried=(browser,), landings=landings)


def unlink(minutes: float, *ends: Identifier, message: str | None = None, until: float | None = None) -> Act:
    last = None if until is None else round(until * MINUTE)
    return Act("x", "unlink", round(minutes * MINUTE), frozenset(ends), message, last, None)


def link(minutes: float, *ends: Identifier) -> Act:
    return Act(f"l{minutes}", "link", round(minutes * MINUTE), frozenset(ends), None, None, None)


def world(*said: Message | Act, hub_limit: int = 20) -> Oracle:
    messages = tuple(one for one in said if isinstance(one, Message))
    acts = tuple(one for one in said if isinstance(one, Act))
    return Oracle(messages, acts, {**shipped(), "hub_limit": hub_limit, "consent": {"required": ["analytics"]}})


def people(oracle: Oracle) -> set[str]:
    return {" ".join(sorted(one.value for one in person)) for person in oracle.people}


def values(person: frozenset[Identifier] | None) -> list[str] | None:
    return None if person is None else sorted(one.value for one in person)


def test_a_pair_that_is_taken_back_is_two_people_and_restored_one() -> None:
    said = seen(0, U1, A)
    assert people(world(said)) == {"a@x.test u1"}
    assert people(world(said, unlink(5, U1, A))) == {"a@x.test", "u1"}
    assert people(world(said, unlink(5, U1, A), Act("r", "restore", 6, frozenset(), None, None, "x"))) == {
        "a@x.test u1"
    }
    assert people(world(said, unlink(5, U1, B))) == {"a@x.test u1"}


def test_what_was_seen_after_the_span_counts_and_dates_the_link() -> None:
    oracle = world(seen(0, U1, A), seen(1.5, U1, A), seen(2, U1, A), unlink(5, U1, A, until=1.1))
    assert people(oracle) == {"a@x.test u1"}
    (link,) = oracle.links
    assert oracle.first_time(link)[0] == 2 * MINUTE
    assert oracle.seen[A][0] == 0


def test_a_link_made_by_hand_after_the_revocation_stands_and_one_before_does_not() -> None:
    assert people(world(seen(0, U1), seen(0, A), unlink(1, U1, A), link(2, U1, A))) == {"a@x.test u1"}
    assert people(world(seen(0, U1), seen(0, A), unlink(2, U1, A), link(1, U1, A))) == {"a@x.test", "u1"}


def test_taking_back_a_message_takes_back_its_minute_of_that_link_only() -> None:
    said = (seen(0, U1, A, key="m1"), seen(0.5, U1, A, key="m2"), seen(0, U1, B1, key="m3"))
    gone = world(*said, unlink(9, message="s/m1"))
    assert people(gone) == {"a@x.test", "u1"}
    assert values(gone.owner(B1, 0)) == ["u1"]
    assert people(world(*said, seen(1, U1, A, key="m4"), unlink(9, message="s/m1"))) == {"a@x.test u1"}


def test_taking_back_an_identifier_takes_all_its_links() -> None:
    oracle = world(seen(0, U1, A, B1), unlink(9, U1))
    assert people(oracle) == {"a@x.test", "u1"}
    assert oracle.owner(B1, 0) is None


def test_a_hub_is_nobodys_and_joins_nothing() -> None:
    said = [seen(n, user, A) for n, user in enumerate((U1, U2, U3))]
    oracle = world(*said, seen(0, A, B1), hub_limit=2)
    assert people(oracle) == {"u1", "u2", "u3"}
    assert oracle.owner(A, 0) is None
    assert oracle.owner(B1, 0) is None
    assert oracle.refused == ()
    assert people(world(*said, hub_limit=3)) == {"a@x.test u1", "u2", "u3"}


def test_a_browser_that_too_many_used_is_nobodys() -> None:
    said = [seen(0, U1, B1), seen(1, U2, B1), mailed(2, A), seen(1, U1, A)]
    assert values(world(*said).owner(B1, MINUTE)) == ["u2"]
    assert world(*said, hub_limit=1).owner(B1, MINUTE) is None


def test_mail_to_a_hub_goes_to_the_vendors_profile_without_the_address() -> None:
    said = [seen(0, U1, A), seen(0, U2, A), seen(0, U3, A), seen(0, U2, P1)]
    event = mailed(3, A, P1)
    assert world(*said, event, hub_limit=2).visitor(event) == Visitor("u2", None, None, ambiguous=False)


def test_consent_withdrawn_voids_the_minute_and_what_follows_until_it_is_given_again() -> None:
    no, yes = (("analytics", False),), (("analytics", True),)
    out = seen(1.5, B1, choices=no)
    assert world(seen(1, U1, B1), out).owner(B1, 0) is None
    assert world(seen(2, U1, B1), out).owner(B1, 0) is None
    assert values(world(seen(0.9, U1, B1), out).owner(B1, 0)) == ["u1"]
    assert values(world(seen(3, U1, B1), out, seen(2, B1, choices=yes)).owner(B1, 0)) == ["u1"]
    assert world(seen(1, U1, B1), out, seen(1.9, B1, choices=yes)).owner(B1, 0) is None


def test_an_event_of_somebody_who_opted_out_has_no_visitor() -> None:
    event = mailed(3, A)
    said = [seen(0, U1, A), event]
    assert world(*said).visitor(event).user_id == "u1"
    assert world(*said, seen(2, U1, choices=(("analytics", False),))).visitor(event) == NOBODY
    assert world(*said, seen(4, U1, choices=(("analytics", False),))).visitor(event).user_id == "u1"


def test_a_browser_that_clicked_gets_the_mail_and_its_id_leaves_alone() -> None:
    event = mailed(5, A, P1)
    assert world(event, landed(2, B1)).visitor(event) == Visitor(None, "B1", None, ambiguous=False)
    assert world(event, landed(2, B1), seen(1, A, B2)).visitor(event).anonymous_id == "B2"
    assert world(event, landed(2, B1), seen(1, U1, A)).visitor(event) == Visitor("u1", None, A.value, ambiguous=False)


def test_a_browser_that_clicked_is_not_believed_beside_others() -> None:
    event = mailed(5, A, P1)
    machine = mailed(3, A, P1, properties={"machine_click": True})
    assert world(event, landed(2, B1), seen(99, B, B1)).visitor(event) == NOBODY
    assert world(event, landed(2, B1), seen(99, A, B1)).visitor(event).anonymous_id == "B1"
    assert world(event, landed(2, B1), machine).visitor(event) == NOBODY
    assert world(event, landed(1.99, B1), machine).visitor(event).anonymous_id == "B1"


def test_the_first_browser_that_carried_a_token_has_it_for_seven_days() -> None:
    week = 7 * DAY / MINUTE
    event = mailed(5 * week, A, P1)
    assert world(event, landed(2, B2), landed(week + 2, B1)).visitor(event).anonymous_id == "B2"
    assert world(event, landed(2, B2), landed(week + 2.5, B1)).visitor(event).anonymous_id == "B1"
    both = [landed(2, B2), landed(3, B2), landed(week + 2.5, B1)]
    assert world(event, *both).visitor(event).anonymous_id == "B2"


def test_traits_are_the_last_by_event_time_of_those_who_they_were_then() -> None:
    plain = seen(0, U1, A, B1, trait_owner=U1, traits={"plan": "free", "city": "Rome"})
    oracle = world(
        plain,
        seen(2, U1, trait_owner=U1, traits={"plan": "pro"}),
        seen(1, A, trait_owner=A, traits={"plan": "basic"}),
        seen(3, U2, B1),
        seen(4, B1, trait_owner=B1, traits={"plan": "other's"}),
    )
    assert oracle.traits(oracle.person(U1)) == {"plan": "pro", "city": "Rome"}
    assert oracle.traits(oracle.person(U2)) == {"plan": "other's"}


def test_looking_back_knows_nothing_later_than_the_minute() -> None:
    oracle = world(seen(0, U1, A), seen(1.9, U1, B1), seen(2, U1, B), unlink(2.5, U1, A))
    assert people(oracle.as_of(MINUTE)) == {"a@x.test u1"}
    assert values(oracle.as_of(MINUTE).owner(B1, 0)) == ["a@x.test", "u1"]
    assert people(oracle.as_of(2 * MINUTE)) == {"a@x.test", "b@x.test u1"}
