"""Who is who, scenario by scenario: through validation and the stages on a real store, beside the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from connector import answers
from connector.house import House
from connector.messages import Identifier, Received, iso
from connector.store import Store
from tests import streams
from tests.streams import (
    Person,
    Visitor,
    at,
    call,
    customerio,
    feed,
    house,
    identify,
    klaviyo,
    known,
    md5,
    page,
    sha256,
    sourced,
)

HEX_BROWSER = "0123456789abcdef0123456789abcdef"  # as uuid4().hex, or somebody's MD5


def who(store: Store, *received: Received, under: House | None = None) -> set[frozenset[str]]:
    """Feed these and tell the people as sets of values; they must be the oracle's too."""
    feed(store, *received, house=under)
    return told(store, received, under)


def told(store: Store, received: Iterable[Received], under: House | None = None) -> set[frozenset[str]]:
    under = under or house()
    oracle = streams.oracle(received, under)
    with store.reading() as tx:
        found = known(tx, under)
    assert found == streams.expected(oracle, under)
    return {values(person) for person in found.people}


def values(person: Person | None) -> frozenset[str]:
    return frozenset(one.value for one in person or ())


def owner(store: Store, type_name: str, value: str, minutes: float) -> frozenset[str]:
    """Whose an identifier or a browser was at a time."""
    with store.reading() as tx:
        return values(known(tx, house(), [at(minutes)]).owners[Identifier(type_name, value), at(minutes)])


def visitor(store: Store, one: Received, under: House | None = None) -> Visitor:
    with store.reading() as tx:
        return streams.visitors(tx, under or house())[f"{one.source}/{one.message_id}"]


def refused(store: Store) -> set[tuple[str, str, str, str]]:
    with store.reading() as tx:
        return {(a.value, b.value, kind, limit) for a, b, kind, limit in known(tx, house()).refused}


# -- people and browsers ----------------------------------------------------------------------------------------------


def test_a_browser_and_its_email_are_one_visitor_and_the_browser_no_member_of_the_person(store: Store) -> None:
    assert who(store, page(0, "B1"), identify(1, "B1", email="Jane@X.test ")) == {frozenset({"jane@x.test"})}
    assert owner(store, "anonymous_id", "B1", 5) == {"jane@x.test"}
    assert owner(store, "anonymous_id", "B1", 0) == {"jane@x.test"}, "before the first sighting it is the first's"


def test_two_people_on_one_browser_are_never_fused(store: Store) -> None:
    people = who(store, identify(0, "B1", "u1", "jane@x.test"), identify(9, "B1", "u2", "joe@x.test"))
    assert people == {frozenset({"u1", "jane@x.test"}), frozenset({"u2", "joe@x.test"})}
    assert refused(store) == set(), "the browser joined nobody, so there was nothing to refuse"


def test_a_familys_laptop_is_told_apart_by_time(store: Store) -> None:
    turns = [identify(0, "B1", email="jane@x.test"), identify(10, "B1", email="joe@x.test"), page(15, "B1")]
    turns.append(identify(20, "B1", email="jane@x.test"))
    who(store, *turns)
    owners = {minute: owner(store, "anonymous_id", "B1", minute) for minute in (-5, 0, 9.99, 10, 19, 20, 99)}
    jane, joe = {"jane@x.test"}, {"joe@x.test"}
    assert owners == {-5: jane, 0: jane, 9.99: jane, 10: joe, 19: joe, 20: jane, 99: jane}


def test_inside_one_minute_the_earliest_and_the_latest_sighting_of_each_count(store: Store) -> None:
    turns = [identify(second / 60, "B1", email=f"{name}@x.test") for second, name in ((1, "a"), (20, "b"), (40, "a"))]
    who(store, *turns)
    owners = [owner(store, "anonymous_id", "B1", second / 60) for second in (0, 1, 20, 39, 40, 59)]
    assert owners == [{"a@x.test"}, {"a@x.test"}, {"b@x.test"}, {"b@x.test"}, {"a@x.test"}, {"a@x.test"}]


def test_the_devices_of_one_person_hang_on_their_user_id(store: Store) -> None:
    people = who(
        store,
        identify(0, "phone", email="jane@x.test"),
        identify(1, "phone", "u1", "jane@x.test"),
        identify(2, "laptop", "u1"),
    )
    assert people == {frozenset({"u1", "jane@x.test"})}
    assert owner(store, "anonymous_id", "laptop", 3) == owner(store, "anonymous_id", "phone", 3) == {*people.pop()}


def test_a_page_without_another_id_is_no_sighting(store: Store) -> None:
    assert who(store, page(0, "B1"), page(1, "B1")) == set()
    assert owner(store, "anonymous_id", "B1", 1) == frozenset()


# -- limits and contested identifiers ---------------------------------------------------------------------------------


def test_an_account_made_again_under_the_same_email_owns_it_from_then_on(store: Store) -> None:
    before, after = sourced(5, "jane@x.test"), sourced(15, "jane@x.test")
    people = who(store, identify(0, None, "u1", "jane@x.test"), identify(10, None, "u2", "jane@x.test"), before, after)
    assert people == {frozenset({"u1", "jane@x.test"}), frozenset({"u2"})}
    assert refused(store) == {("u2", "jane@x.test", "declared", "user_id")}
    assert visitor(store, before)[0] == "u1"
    assert visitor(store, after)[0] == "u2"
    assert owner(store, "email", "jane@x.test", -1) >= {"u1"}, "before the first sighting it is the first's"


def test_a_refused_link_says_which_limit_and_which_two_identities(store: Store) -> None:
    feed(store, identify(0, None, "u1", "jane@x.test"), identify(10, None, "u2", "jane@x.test"))
    with store.reading() as tx:
        profile = answers.profile(tx, house(), "email", "jane@x.test")
    assert profile is not None
    (link,) = profile["refused"]
    assert "u1" in link["because"]
    assert "u2" in link["because"]
    assert "user_id" in link["because"]


def test_a_sixth_email_is_refused_and_the_first_five_stay(store: Store) -> None:
    people = who(store, *(identify(n, None, "u1", f"p{n}@x.test") for n in range(6)))
    assert people == {frozenset({"u1", *(f"p{n}@x.test" for n in range(5))}), frozenset({"p5@x.test"})}
    assert refused(store) == {("u1", "p5@x.test", "declared", "email")}


def test_which_five_emails_stay_is_told_by_event_time_not_by_arrival(store: Store) -> None:
    received = [identify(n, None, "u1", f"p{n}@x.test") for n in (5, 3, 1, 4, 2, 0)]
    for one in received:
        feed(store, one)
    assert frozenset({"p5@x.test"}) in told(store, received)


def test_a_customer_told_by_two_users_of_one_profile_does_not_join_them(store: Store) -> None:
    people = who(
        store,
        identify(0, None, "u1", "jane@x.test"),
        identify(0, None, "u2", "joe@x.test"),
        klaviyo(1, "jane@x.test", "P"),
        klaviyo(2, "joe@x.test", "P"),
    )
    assert people == {frozenset({"u1", "jane@x.test", "P"}), frozenset({"u2", "joe@x.test"})}
    assert refused(store) == {("joe@x.test", "P", "vendor", "user_id")}
    assert owner(store, "klaviyo_profile_id", "P", 1.5) >= {"u1"}
    assert owner(store, "klaviyo_profile_id", "P", 3) >= {"u2"}


# -- what is not what it says -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("digest", [md5, sha256, lambda email: sha256(email).upper()])
@pytest.mark.parametrize("email_first", [True, False])
def test_an_emails_hash_as_anonymous_id_is_that_email_in_either_order(
    store: Store, digest: Callable[[str], str], email_first: bool
) -> None:
    event = sourced(5, digest("jane@x.test"))
    site = identify(1, "B1", email="jane@x.test")
    for one in (site, event) if email_first else (event, site):
        feed(store, one)
    assert told(store, [site, event]) == {frozenset({"jane@x.test", digest("jane@x.test")})}
    assert visitor(store, event) == (None, "B1", "jane@x.test", False)


def test_a_hash_that_a_site_call_joined_to_a_user_before_its_email_was_known(store: Store) -> None:
    digest = md5("jane@x.test")
    site, form = identify(0, digest, "u1"), identify(9, "B2", email="jane@x.test")
    assert who(store, site) == {frozenset({"u1"})}
    feed(store, form)
    assert told(store, [site, form]) == {frozenset({"u1", digest, "jane@x.test"})}
    assert owner(store, "email", "jane@x.test", 0) >= {"u1"}


def test_a_site_whose_browsers_are_uuids_without_dashes_keeps_them(store: Store) -> None:
    event = sourced(5, HEX_BROWSER, email="jane@x.test", integration="Iterable")
    people = who(store, page(0, HEX_BROWSER), identify(1, HEX_BROWSER, email="jane@x.test"), event)
    assert people == {frozenset({"jane@x.test"})}
    assert visitor(store, event) == (None, HEX_BROWSER, "jane@x.test", False)


def test_a_hash_shaped_anonymous_id_that_no_site_call_carried_is_nobodys(store: Store) -> None:
    event = sourced(5, HEX_BROWSER)
    who(store, event)
    assert visitor(store, event) == (None, None, None, False)


def test_a_user_id_that_is_the_email_is_both_on_the_site_and_the_email_on_an_email_event(store: Store) -> None:
    event = sourced(5, None, "jane@x.test")
    people = who(store, identify(0, "B1", "jane@x.test"), event)
    assert people == {frozenset({Identifier("user_id", "jane@x.test").value})}, "the userId and the email, one value"
    assert visitor(store, event) == ("jane@x.test", "B1", "jane@x.test", False)


def test_an_email_event_alone_never_makes_a_user_id_of_an_email(store: Store) -> None:
    event = sourced(5, None, "jane@x.test")
    who(store, event)
    assert visitor(store, event) == (None, None, None, False)


@pytest.mark.parametrize("site_first", [True, False])
def test_a_vendors_user_id_is_a_user_id_once_a_site_call_carried_it(store: Store, site_first: bool) -> None:
    event, site = customerio(5, "jane@x.test", "jane@x.test", "cio1", "u1"), page(1, "B1", "u1")
    feed(store, site if site_first else event)
    if not site_first:
        assert visitor(store, event) == (None, None, None, False)
    feed(store, event if site_first else site)
    assert told(store, [event, site]) == {frozenset({"u1", "jane@x.test", "cio1"})}
    assert visitor(store, event) == ("u1", "B1", "jane@x.test", False)


def test_a_mapping_can_vouch_for_a_vendors_user_ids_at_once(store: Store) -> None:
    vouching = house((), (("sources/customerio.toml", 'user_id = "segment"'),))
    event = customerio(5, "jane@x.test", "jane@x.test", None, "u1")
    who(store, event, under=vouching)
    assert visitor(store, event, vouching) == ("u1", None, "jane@x.test", False)


def test_a_role_address_names_an_account_and_never_a_browser(store: Store) -> None:
    event = sourced(5, "info@x.test")
    people = who(store, identify(0, "B1", email="info@x.test"), identify(1, None, "u1", "info@x.test"), event)
    assert people == {frozenset({"u1", "info@x.test"})}
    assert owner(store, "anonymous_id", "B1", 5) == frozenset()
    assert visitor(store, event) == ("u1", None, "info@x.test", False)


@pytest.mark.parametrize(
    "junk",
    ["null", '"null"', "'undefined'", "00000000-0000-0000-0000-000000000000", "-1", "Guest", "[object Object]", "NaN"],
)
def test_junk_identifies_nobody_quoted_or_not(store: Store, junk: str) -> None:
    people = who(
        store,
        identify(0, junk, "u1", "jane@x.test"),
        identify(1, junk, "u2", "joe@x.test"),
        identify(2, "B1", junk, "ann@x.test"),
        identify(3, "B2", junk, "bob@x.test"),
    )
    assert people == {
        frozenset({"u1", "jane@x.test"}),
        frozenset({"u2", "joe@x.test"}),
        frozenset({"ann@x.test"}),
        frozenset({"bob@x.test"}),
    }


def test_the_traits_of_a_group_never_identify_a_user(store: Store) -> None:
    groups = [
        call(n, type="group", groupId="G", userId=f"u{n}", traits={"email": "office@x.test", "phone": "+15551234567"})
        for n in (1, 2)
    ]
    assert who(store, *groups) == {frozenset({"u1"}), frozenset({"u2"})}


@pytest.mark.parametrize(("previous", "user"), [("u1", "u1"), ("B1", "u1"), ("u2", "u1"), ("jane@x.test", "u1")])
def test_an_alias_joins_nobody(store: Store, previous: str, user: str) -> None:
    received = [
        identify(0, "B1", email="jane@x.test"),
        page(1, None, "u2"),
        call(2, type="alias", previousId=previous, userId=user),
    ]
    people = who(store, *received)
    assert people == {frozenset({"u1"}), frozenset({"u2"}), frozenset({"jane@x.test"})}
    assert owner(store, "anonymous_id", "B1", 5) == {"jane@x.test"}


def test_an_address_mailed_for_somebody_else_is_not_linked_to_the_profile(store: Store) -> None:
    event = customerio(5, "friend@x.test", "jane@x.test", "cio1", "u1")
    people = who(store, identify(0, "B1", "u1", "jane@x.test"), event)
    assert people == {frozenset({"u1", "jane@x.test", "cio1"}), frozenset({"friend@x.test"})}
    assert visitor(store, event) == (None, None, None, False)


# -- time, names, and what is kept ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timestamp", "sender", "expected"),
    [
        (at(5), None, at(5)),
        (at(1e6), None, streams.NOW),
        (at(50), at(20), at(20)),
        (915_148_800_000, None, streams.NOW),
        (None, None, streams.NOW),
        (None, at(20), at(20)),
    ],
    ids=["as it says", "clock ahead", "after the sender's receipt", "1999", "no clock", "no clock, sender's receipt"],
)
def test_the_event_time_is_never_after_its_receipt(
    store: Store, timestamp: int | None, sender: int | None, expected: int
) -> None:
    times: dict[str, Any] = {"timestamp": timestamp and iso(timestamp), "receivedAt": sender and iso(sender)}
    feed(store, call(None, type="identify", anonymousId="B1", traits={"email": "jane@x.test"}, **times))
    with store.reading() as tx:
        told = answers.profile(tx, house(), "email", "jane@x.test")
    assert told is not None
    assert [one["first_at"] for one in told["identifiers"]] == [iso(expected)]


def test_an_unreadable_timestamp_is_the_receipt(store: Store) -> None:
    feed(store, call(None, type="page", userId="u1", timestamp="yesterday, sort of"))
    with store.reading() as tx:
        told = answers.profile(tx, house(), "user_id", "u1")
    assert told is not None
    assert told["identifiers"][0]["first_at"] == iso(streams.NOW)


def test_a_merge_keeps_the_profile_id_of_the_earliest_identifier_whenever_it_arrives(store: Store) -> None:
    late_but_early = identify(0, "B1", email="jane@x.test")
    feed(store, identify(5, "B2", "u1"))
    with store.reading() as tx:
        alone = answers.profile(tx, house(), "user_id", "u1")
    feed(store, late_but_early, identify(6, "B2", "u1", "jane@x.test"))
    with store.reading() as tx:
        merged = [answers.profile(tx, house(), *one) for one in (("user_id", "u1"), ("email", "jane@x.test"))]
        by_old_id = answers.profile_by_id(tx, house(), alone["profile_id"] if alone else "")
    assert alone is not None
    assert merged[0] is not None
    assert merged[0] == merged[1] == by_old_id
    assert merged[0]["profile_id"] == house().keys.profile_id(Identifier("email", "jane@x.test"))
    assert alone["profile_id"] == house().keys.profile_id(Identifier("user_id", "u1"))


def test_a_body_that_differs_under_a_known_id_teaches_nothing(store: Store) -> None:
    first = identify(0, "B1", email="jane@x.test", messageId="same")
    other = identify(0, "B1", email="joe@x.test", messageId="same")
    assert who(store, first, other, first) == {frozenset({"jane@x.test"})}
    with store.reading() as tx:
        found = streams.counted(tx)
    assert (found["duplicates"], found["conflicting_duplicates"]) == (2, 1)


def test_the_counters_follow_people_links_and_refusals(store: Store) -> None:
    feed(store, identify(0, "B1", "u1", "jane@x.test"))
    feed(store, identify(10, "B1", "u2", "jane@x.test"))
    feed(store, sourced(11, md5("jane@x.test")))
    with store.reading() as tx:
        found = streams.counted(tx)
    assert {name: found[name] for name in ("profiles", "links", "refused_links")} == {
        "profiles": 2,  # u1 with the address and its hash; u2
        "links": 5,  # u1 and B1, u1 and jane, u2 and B1, u2 and jane, jane and her hash
        "refused_links": 1,
    }


def test_a_link_first_seen_earlier_than_was_known_changes_who_is_refused_and_the_count(store: Store) -> None:
    received = [
        klaviyo(0, None, "P"),
        identify(0, None, "u1", "jane@x.test"),
        identify(0, None, "u1", "jane@work.test"),
        identify(0, None, "u2", "joe@x.test"),
        *(klaviyo(n, email, "P") for n, email in ((5, "jane@x.test"), (6, "jane@work.test"), (7, "joe@x.test"))),
    ]
    feed(store, *received)
    assert refused(store) == {("joe@x.test", "P", "vendor", "user_id")}
    late = klaviyo(3, "joe@x.test", "P")
    feed(store, late)
    assert frozenset({"u2", "joe@x.test", "P"}) in told(store, [*received, late])
    assert refused(store) == {
        ("jane@x.test", "P", "vendor", "user_id"),
        ("jane@work.test", "P", "vendor", "user_id"),
    }
    with store.reading() as tx:
        assert streams.counted(tx)["refused_links"] == 2
