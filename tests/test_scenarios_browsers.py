"""Browsers that several people use, that a forwarded link or an upgrade renames, and what only looks like a browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from connector.messages import Identifier, Received
from connector.store import Store
from tests.scenes import JANE, JOE, Scene, browser, email, klaviyo_profile, user
from tests.streams import call, identify, klaviyo, md5, page, sha256, sourced

DAY = 24 * 60.0
HEX_BROWSER = "8f14e45fceea467f9d2c7a1b3c4d5e6f"  # as uuid4().hex


# -- a browser that several people use --------------------------------------------------------------------------------


def test_a_familys_laptop_gives_each_event_its_reader_by_time_even_events_that_come_late(store: Store) -> None:
    scene = Scene(store)
    jane = {minutes: sourced(minutes, JANE) for minutes in (5, 15, 25)}
    joe = {minutes: sourced(minutes, JOE) for minutes in (5, 15, 25)}
    scene.happens(identify(0, "B1", "u1", JANE), identify(10, "B1", "u2", JOE), identify(20, "B1", "u1", JANE))
    scene.happens(*jane.values(), *joe.values())
    assert {minutes: scene.visitor(one)[:2] for minutes, one in jane.items()} == {
        5: ("u1", "B1"),
        15: ("u1", None),
        25: ("u1", "B1"),
    }
    assert {minutes: scene.visitor(one)[:2] for minutes, one in joe.items()} == {
        5: ("u2", None),
        15: ("u2", "B1"),
        25: ("u2", None),
    }


def test_a_support_desk_signs_in_as_its_customers_and_fuses_none(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    customers = [identify(n, f"own{n}", f"u{n}", f"p{n}@x.test") for n in range(8)]
    desk = [page(100 + n, "desk", f"u{n}") for n in range(8)]
    events = [sourced(104.5, f"p{n}@x.test") for n in range(8)]
    scene.happens(*customers, *desk, *events)
    assert scene.people() == {frozenset({f"u{n}", f"p{n}@x.test"}) for n in range(8)}
    chosen = [scene.visitor(one)[:2] for one in events]
    # Who was signed in at the desk last before the event is its owner then; all others have their own browser.
    assert chosen == [(f"u{n}", "desk" if n == 4 else f"own{n}") for n in range(8)]


def test_after_a_logout_the_next_visitor_is_not_the_last_one(sqlite_store: Store) -> None:
    """reset() sends nothing: there is a new anonymousId, and nobody on it."""
    scene = Scene(sqlite_store)
    event = sourced(99, JANE)
    scene.happens(identify(0, "before", "u1", JANE), page(10, "after"), page(11, "after"))
    scene.happens(identify(20, "after", email=JOE), event)
    assert scene.people() == {frozenset({"u1", JANE}), frozenset({JOE})}
    assert scene.owner(browser("after"), 10) == {JOE}, "what came before the first who is known is theirs"
    assert scene.visitor(event) == ("u1", "before", JANE, False)


def test_an_account_made_again_under_the_same_email_owns_it_from_then_on(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    events = {minutes: sourced(minutes, JANE) for minutes in (-5, 5, 15, 25)}
    scene.happens(*events.values())
    scene.happens(identify(20, "B3", "u2"), identify(10, "B2", "u2", JANE), identify(0, "B1", "u1", JANE))
    assert scene.people() == {frozenset({"u1", JANE}), frozenset({"u2"})}
    assert scene.refused() == {("u2", JANE, "declared", "user_id")}
    assert {minutes: scene.visitor(one) for minutes, one in events.items()} == {
        -5: ("u1", "B1", JANE, False),
        5: ("u1", "B1", JANE, False),
        15: ("u2", "B2", JANE, False),
        25: ("u2", "B3", JANE, False),
    }


def test_a_login_that_arrives_late_gives_the_events_after_it_to_whom_they_belong(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = sourced(15, JANE)
    scene.happens(identify(0, "B1", "u1", JANE), event)
    assert scene.visitor(event) == ("u1", "B1", JANE, False)
    scene.happens(page(10, "B1", "u2"))
    assert scene.visitor(event) == ("u1", None, JANE, False)
    assert scene.owner(browser("B1"), 9) == {"u1", JANE}


# -- a forwarded mail -------------------------------------------------------------------------------------------------


def landing(minutes: float, anonymous: str, query: str = "kl_pid=P") -> Received:
    return page(minutes, anonymous, context={"page": {"url": f"https://shop.test/?utm_source=k&{query}"}})


def test_a_forwarded_mail_gives_the_readers_browser_back_when_they_sign_up(store: Store) -> None:
    scene = Scene(store)
    event = klaviyo(50, JANE, "P")
    scene.happens(klaviyo(0, JANE, "P"), landing(10, "readers"), event)
    assert scene.visitor(event) == (None, "readers", None, False), "nothing speaks against it yet"
    scene.happens(identify(9_000, "readers", "u2", JOE))
    assert scene.people() == {frozenset({JANE, "P"}), frozenset({"u2", JOE})}
    assert scene.visitor(event) == (None, None, None, False)
    assert scene.owner(browser("readers"), 50) == {"u2", JOE}


def test_a_forwarded_mail_never_gives_the_reader_the_addressees_user_id(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = klaviyo(50, JANE, "P")
    scene.happens(identify(-10, None, "u1", JANE), klaviyo(0, JANE, "P"), landing(10, "readers"), event)
    assert scene.visitor(event) == ("u1", None, JANE, False)
    assert scene.owner(browser("readers"), 50) == set()


def test_the_second_browser_with_one_token_within_a_week_is_not_the_addressees(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = klaviyo(9 * DAY, JANE, "P")
    scene.happens(klaviyo(0, JANE, "P"), landing(10, "own"), landing(DAY, "readers"), event)
    assert scene.visitor(event) == (None, "own", None, False)
    later = klaviyo(9.5 * DAY, JANE, "P")
    scene.happens(landing(9 * DAY, "own-phone"), later)
    assert scene.visitor(later) == (None, "own-phone", None, False), "the others were longer ago than seven days"


@pytest.mark.parametrize(("apart", "chosen"), [(-1.0, None), (0.5, None), (1.0, None), (1.1, "B1"), (-1.1, "B1")])
def test_a_landing_within_a_minute_of_a_machines_click_proves_nothing(
    sqlite_store: Store, apart: float, chosen: str | None
) -> None:
    scene = Scene(sqlite_store)
    scanner = klaviyo(10 + apart, JANE, "P", "clicked_email", properties={"Bot Click": True})
    event = klaviyo(50, JANE, "P")
    scene.happens(klaviyo(0, JANE, "P"), landing(10, "B1"), event, scanner)
    assert scene.visitor(event) == (None, chosen, None, False)


def test_a_browser_the_site_declared_is_preferred_to_one_that_clicked(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = klaviyo(50, JANE, "P")
    scene.happens(identify(0, "form", email=JANE), klaviyo(1, JANE, "P"), landing(10, "clicked"), event)
    assert scene.visitor(event) == (None, "form", JANE, False)


def test_an_address_in_a_pages_url_is_shown_and_never_acted_on(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = sourced(50, JANE)
    scene.happens(landing(10, "B1", "utm_email=jane%40x.test"), event)
    assert scene.people() == {frozenset({JANE})}
    assert scene.owner(browser("B1"), 20) == set()
    assert scene.visitor(event) == (None, None, None, False)
    told = scene.profile(email(JANE))
    assert told is not None
    assert [(one["kind"], one["right"]["value"]) for one in told["links"]] == [("hinted", "B1")]


# -- what analytics.js does -------------------------------------------------------------------------------------------


def test_an_alias_while_identified_is_ignored_because_the_new_id_is_lost_on_the_way(sqlite_store: Store) -> None:
    """analytics.js sends previousId = userId = the old one."""
    scene = Scene(sqlite_store)
    scene.happens(identify(0, "B1", "u1", JANE), call(5, type="alias", userId="u1", previousId="u1"))
    scene.happens(identify(10, "B1", "u2"))
    assert scene.people() == {frozenset({"u1", JANE}), frozenset({"u2"})}


def test_an_alias_of_an_anonymous_visitor_is_shown_and_the_call_after_it_counts(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.happens(page(0, "B1"), call(5, type="alias", userId="u1", previousId="B1"))
    assert scene.owner(browser("B1"), 5) == set()
    told = scene.profile(user("u1"))
    assert told is not None
    assert [(one["kind"], one["right"]["value"]) for one in told["links"]] == [("aliased", "B1")]
    scene.happens(page(6, "B1", "u1"))
    assert scene.owner(browser("B1"), 0) == {"u1"}


def test_a_grafted_ajs_aid_lends_the_browsers_name_and_joins_nobody(sqlite_store: Store) -> None:
    """A forwarded link with ?ajs_aid=A9 makes the reader's calls carry (u1, A9), where A9 is the sender's browser."""
    scene = Scene(sqlite_store)
    before, after, much_later = (sourced(minutes, "sender@x.test") for minutes in (5, 25, 99))
    scene.happens(identify(0, "A9", "u9", "sender@x.test"), identify(1, "B1", "u1", JANE))
    scene.happens(page(20, "A9", "u1"), before, after, much_later)
    assert scene.people() == {frozenset({"u9", "sender@x.test"}), frozenset({"u1", JANE})}
    assert scene.visitor(before) == ("u9", "A9", "sender@x.test", False)
    assert scene.visitor(after) == ("u9", None, "sender@x.test", False)
    scene.happens(page(30, "A9", "u9"))
    assert scene.visitor(much_later) == ("u9", "A9", "sender@x.test", False)
    assert scene.visitor(after) == ("u9", None, "sender@x.test", False)


def test_an_anonymous_id_that_flips_when_the_cookie_wins_is_a_second_browser_of_the_same_visitor(
    sqlite_store: Store,
) -> None:
    """analytics.js 1.84.3 prefers the cookie to localStorage: from one page view to the next the id is another."""
    scene = Scene(sqlite_store)
    before, between, after = (sourced(minutes, JANE) for minutes in (5, 25, 45))
    scene.happens(identify(0, "local", "u1", JANE), page(20, "cookie"), before, between, after)
    assert [scene.visitor(one)[1] for one in (before, between, after)] == ["local", "local", "local"]
    scene.happens(page(40, "cookie", "u1"))
    assert scene.people() == {frozenset({"u1", JANE})}
    assert [scene.visitor(one)[1] for one in (before, between, after)] == ["local", "local", "cookie"]
    assert scene.owner(browser("cookie"), 20) == {"u1", JANE}


# -- anonymousIds that are none ---------------------------------------------------------------------------------------


def test_an_address_as_anonymous_id_is_the_address_and_never_leaves_as_one(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = sourced(5, "Jane@X.test")
    scene.happens(event, page(1, JANE, "u1"))
    assert scene.people() == {frozenset({"u1", JANE})}
    assert scene.visitor(event) == ("u1", None, JANE, False)
    scene.happens(identify(0, "B1", "u1", JANE))
    assert scene.visitor(event) == ("u1", "B1", JANE, False)


@pytest.mark.parametrize("digest", [md5, sha256])
def test_a_hash_as_anonymous_id_is_its_addressee_once_the_address_is_known(
    sqlite_store: Store, digest: Callable[[str], str]
) -> None:
    scene = Scene(sqlite_store)
    event = sourced(5, digest(JANE))
    scene.happens(event)
    assert scene.visitor(event) == (None, None, None, False)
    scene.happens(identify(9, "B1", "u1", JANE))
    assert scene.people() == {frozenset({"u1", JANE, digest(JANE)})}
    assert scene.visitor(event) == ("u1", "B1", JANE, False)


def test_a_site_whose_browsers_are_hexadecimal_keeps_them_as_browsers(sqlite_store: Store) -> None:
    """uuid4().hex looks like an MD5; what a site carries, and no known address hashes to, is a browser."""
    scene = Scene(sqlite_store)
    event = sourced(5, JANE)
    scene.happens(
        page(0, HEX_BROWSER), identify(1, HEX_BROWSER, "u1", JANE), identify(9, HEX_BROWSER, "u2", JOE), event
    )
    assert scene.people() == {frozenset({"u1", JANE}), frozenset({"u2", JOE})}
    assert scene.visitor(event) == ("u1", HEX_BROWSER, JANE, False)
    assert scene.owner(browser(HEX_BROWSER), 9) == {"u2", JOE}


def test_klaviyo_having_merged_two_of_our_people_fuses_neither(store: Store) -> None:
    scene = Scene(store)
    by_profile = {minutes: klaviyo(minutes, None, "P1") for minutes in (5, 25)}
    by_address = klaviyo(26, JANE, "P1")
    scene.happens(identify(0, "B1", "u1", JANE), identify(0, "B2", "u2", JOE), klaviyo(1, JANE, "P1"))
    scene.happens(klaviyo(2, JOE, "P2"), klaviyo(20, JOE, "P1"), *by_profile.values(), by_address)
    assert scene.people() == {frozenset({"u1", JANE, "P1"}), frozenset({"u2", JOE, "P2"})}
    assert scene.refused() == {(JOE, "P1", "vendor", "user_id")}
    assert scene.visitor(by_profile[5]) == ("u1", "B1", JANE, False)
    assert scene.visitor(by_profile[25]) == ("u2", "B2", JOE, False)
    assert scene.visitor(by_address) == ("u1", "B1", JANE, True), "the site joined the address to u1, Klaviyo names u2"
    assert scene.owner(klaviyo_profile("P1"), 27) == {"u1", JANE, "P1"}
    assert scene.owner(Identifier("klaviyo_profile_id", "P2"), 27) == {"u2", JOE, "P2"}
