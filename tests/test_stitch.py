"""Whose visitor an email event is, and what leaves: the story and its corners, through the stages on a real store."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from connector import held, operate
from connector.house import House
from connector.messages import HOUR, Identifier, Outcome, Received
from connector.store import Store
from connector.tables import opaque_ids, outbox
from tests import streams
from tests.streams import (
    NOW,
    Visitor,
    at,
    call,
    counted,
    customerio,
    feed,
    house,
    identify,
    klaviyo,
    left,
    md5,
    outcomes,
    page,
    said,
    sourced,
)

JANE = "jane@x.test"


def visitor(store: Store, one: Received, under: House | None = None) -> Visitor:
    """userId, anonymousId, email and whether it is ambiguous, by everything that is known now."""
    with store.reading() as tx:
        return streams.visitors(tx, under or house())[f"{one.source}/{one.message_id}"]


def expire(store: Store, hours: float, under: House | None = None) -> int:
    with store.writing() as tx:
        return held.expire(tx, under or house(), NOW + round(hours * HOUR))


def ids(store: Store) -> dict[str, tuple[str | None, str | None, str | None]]:
    """What each event left with: userId, anonymousId, email."""
    return {message_id: said(body) for message_id, body in left(store).items()}


def statuses(store: Store) -> list[str]:
    with store.reading() as tx:
        return list(tx.scalars(sa.select(outbox.c.status).order_by(outbox.c.id)))


def story(*, message_id: str = "e1") -> Received:
    return sourced(60, JANE, messageId=message_id)


# -- the story of §1 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        klaviyo(60, JANE, "P", message_id="e1"),
        sourced(60, JANE, messageId="e1"),
        sourced(60, None, "null", JANE, messageId="e1", source="tracking_api"),
        sourced(60, md5(JANE), messageId="e1"),
        sourced(60, JANE, JANE, event="Email Unsubscribed", messageId="e1"),
    ],
    ids=["Klaviyo's webhook", "Segment's Klaviyo source", "a library", "a hash", "an address as both ids"],
)
def test_after_a_form_the_events_leave_with_the_visitors_browser(store: Store, event: Received) -> None:
    feed(store, page(0, "B1"), identify(1, "B1", email=JANE))
    feed(store, event)
    assert outcomes(store)["e1"] == Outcome.STITCHED
    assert ids(store) == {"e1": (None, "B1", JANE)}


def test_events_that_come_first_are_held_and_leave_with_their_own_time_in_its_order(store: Store) -> None:
    feed(store, sourced(62, JANE, messageId="second"), sourced(61, JANE, messageId="first"))
    assert statuses(store) == ["held", "held"]
    assert left(store) == {}
    feed(store, identify(90, "B1", email=JANE))
    bodies = left(store)
    assert ids(store) == {"first": (None, "B1", JANE), "second": (None, "B1", JANE)}
    assert {key: body["timestamp"] for key, body in bodies.items()} == {
        "first": "2026-09-11T01:01:00.000Z",
        "second": "2026-09-11T01:02:00.000Z",
    }
    assert all(body["properties"]["stitched_late"] is True for body in bodies.values())
    with store.reading() as tx:
        released = tx.execute(sa.select(outbox).order_by(outbox.c.pending_at, outbox.c.at)).all()
        found = counted(tx)
    assert [row.at for row in released] == [at(61), at(62)]
    assert {key: n for key, n in found.items() if key.startswith(("email.", "outbox."))} == {
        "email.stitched_late": 2,
        "email.arrived_unusable": 2,
        "email.left_usable": 2,
        "outbox.segment.pending": 2,
    }


def test_after_the_sign_up_the_user_id_leaves_with_the_right_browser(store: Store) -> None:
    feed(store, identify(0, "phone", email=JANE), identify(50, "laptop", "u1", JANE), page(70, "phone"))
    feed(store, story())
    assert ids(store) == {"e1": ("u1", "laptop", JANE)}
    feed(store, page(80, "phone", "u1"), sourced(81, JANE, messageId="e2"))
    assert ids(store)["e2"] == ("u1", "phone", JANE)


def test_an_address_never_seen_leaves_under_an_opaque_id_and_is_joined_once(store: Store) -> None:
    feed(store, story(), sourced(61, JANE, messageId="e2"))
    assert expire(store, 71.9) == 0
    assert expire(store, 72) == 2
    opaque = house().keys.opaque_id(Identifier("email", JANE))
    assert ids(store) == {"e1": (None, opaque, JANE), "e2": (None, opaque, JANE)}
    assert JANE not in opaque
    assert set(outcomes(store).values()) == {Outcome.EXPIRED}
    for minute in (100, 101):
        feed(store, identify(minute, "B1", "u1", JANE))
    joins = [body for body in left(store).values() if body["type"] == "identify"]
    assert [(one["userId"], one["anonymousId"]) for one in joins] == [("u1", opaque)]
    assert set(outcomes(store).values()) == {Outcome.EXPIRED, Outcome.LEARNED}, "what left, left"


def test_everything_twice_in_another_order_leaves_once_under_the_same_message_ids(
    sqlite_store: Store, postgres_store: Store
) -> None:
    everything = [page(0, "B1"), identify(1, "B1", email=JANE), identify(70, "B2", "u1", JANE), story()]
    everything += [klaviyo(61, JANE, "P"), sourced(62, "never@x.test"), sourced(63, md5(JANE))]
    again = everything * 2
    random.Random(4).shuffle(again)
    feed(sqlite_store, *everything)
    for one in again:
        feed(postgres_store, one)
    names = []
    for store in (sqlite_store, postgres_store):
        with store.reading() as tx:
            rows = tx.execute(sa.select(outbox.c.message_id, outbox.c.status)).all()
        names.append(sorted(map(tuple, rows)))
    assert names[0] == names[1]
    assert len(names[0]) == 4


def test_our_own_event_coming_back_changes_nothing(store: Store) -> None:
    feed(store, identify(0, "B1", email=JANE), story())
    ours = left(store)["e1"]
    with store.reading() as tx:
        before = streams.known(tx, house())
    back = {**ours, "userId": "somebody", "anonymousId": "B1"}
    feed(store, Received("segment", ours["messageId"], orjson.dumps(back).decode(), NOW))
    relabelled = {**back, "messageId": "another"}
    feed(store, Received("segment", "another", orjson.dumps(relabelled).decode(), NOW))
    assert outcomes(store)[ours["messageId"]] == outcomes(store)["another"] == Outcome.ECHO
    assert statuses(store) == ["pending"]
    with store.reading() as tx:
        assert streams.known(tx, house()) == before
        assert counted(tx)["email.echo"] == 2


def test_two_people_on_one_browser_get_their_own_events(store: Store) -> None:
    feed(store, identify(0, "B1", "u1", JANE), identify(50, "B1", "u2", "joe@x.test"))
    events = {
        "jane before": sourced(40, JANE),
        "jane after": sourced(60, JANE),
        "joe after": sourced(60, "joe@x.test"),
    }
    feed(store, *events.values())
    assert {name: visitor(store, one)[:2] for name, one in events.items()} == {
        "jane before": ("u1", "B1"),
        "jane after": ("u1", None),  # the browser is Joe's by then
        "joe after": ("u2", "B1"),
    }


# -- which browser ----------------------------------------------------------------------------------------------------


def test_the_browser_last_seen_with_the_address_before_the_event_is_chosen_else_the_first_after(store: Store) -> None:
    feed(store, identify(10, "B1", email=JANE), identify(20, "B2", email=JANE), identify(30, "B3", email=JANE))
    events = {minute: sourced(minute, JANE) for minute in (5, 10, 15, 20, 25, 99)}
    feed(store, *events.values())
    chosen = {minute: visitor(store, one)[1] for minute, one in events.items()}
    assert chosen == {5: "B1", 10: "B1", 15: "B1", 20: "B2", 25: "B2", 99: "B3"}


def test_a_browser_that_another_uses_now_is_kept_where_nobody_is_named(store: Store) -> None:
    event = sourced(60, JANE)
    feed(store, identify(0, "B1", email=JANE), identify(50, "B1", "u2"), event)
    assert visitor(store, event) == (None, "B1", JANE, False)
    with store.reading() as tx:
        (reason,) = tx.scalars(sa.text("select reason from messages where outcome = 'stitched'"))
    assert "browser also used by another" in reason


def test_a_path_through_a_browser_never_puts_a_user_id_on_an_event(store: Store) -> None:
    event = sourced(60, JANE)
    feed(store, identify(0, "B1", "u1"), identify(10, "B1", email=JANE), event)
    assert visitor(store, event) == (None, "B1", JANE, False)


def test_a_browser_seen_with_the_address_only_does_not_leave_beside_the_user_id(store: Store) -> None:
    event = sourced(60, JANE)
    feed(store, identify(0, "B1", email=JANE), identify(50, None, "u1", JANE), event)
    assert visitor(store, event) == ("u1", None, JANE, False)


def test_an_address_reached_only_through_another_does_not_leave_beside_the_user_id(store: Store) -> None:
    event = klaviyo(60, JANE, "P")
    feed(store, klaviyo(0, "old@x.test", "P"), identify(10, "B1", "u1", "old@x.test"), event)
    assert visitor(store, event) == ("u1", "B1", None, False)


def test_many_sightings_of_a_browser_that_became_anothers_do_not_hide_an_older_one(store: Store) -> None:
    event = sourced(900, JANE)
    feed(store, identify(0, "phone", "u1", JANE), *(page(minute, "laptop", "u1") for minute in range(1, 301)))
    feed(store, page(800, "laptop", "u2"), event)
    assert visitor(store, event) == ("u1", "phone", JANE, False)


def test_an_event_that_came_with_a_visitors_browser_keeps_it(store: Store) -> None:
    stranger, known = sourced(60, "B9", email=JANE), sourced(61, "B2", email=JANE)
    feed(store, identify(0, "B1", "u1", JANE), page(1, "B2", "u1"), stranger, known)
    assert visitor(store, stranger) == (None, "B9", JANE, False), "its userId is not known to belong to that browser"
    assert visitor(store, known) == ("u1", "B2", JANE, False)
    assert outcomes(store)[stranger.message_id] == outcomes(store)[known.message_id] == Outcome.PASSED


def test_an_event_without_address_is_its_profiles_with_the_address_that_had_then(store: Store) -> None:
    feed(store, klaviyo(0, "old@x.test", "P"), klaviyo(50, JANE, "P"))
    feed(store, identify(1, "B1", email="old@x.test"), identify(51, "B2", email=JANE))
    events = [klaviyo(minute, None, "P") for minute in (10, 60)]
    feed(store, *events)
    assert [visitor(store, one) for one in events] == [
        (None, "B1", "old@x.test", False),
        (None, "B2", JANE, False),
    ]


# -- ambiguous --------------------------------------------------------------------------------------------------------


def test_a_vendors_id_that_names_another_user_leaves_what_the_site_declared(store: Store) -> None:
    event = sourced(60, None, "u2", JANE)
    feed(store, identify(0, "B1", "u1", JANE), page(1, "B2", "u2"), event)
    assert visitor(store, event) == ("u1", "B1", JANE, True)
    assert outcomes(store)[event.message_id] == Outcome.AMBIGUOUS
    assert ids(store) == {event.message_id: ("u1", "B1", JANE)}


def test_two_users_told_by_vendors_only_are_held(store: Store) -> None:
    feed(store, page(0, "B1", "u1"), page(0, "B2", "u2"))
    feed(store, customerio(10, JANE, JANE, "cio1", "u1"))
    event = sourced(60, None, "u2", JANE)
    feed(store, event)
    assert visitor(store, event) == (None, None, None, True)
    assert outcomes(store)[event.message_id] == Outcome.AMBIGUOUS
    assert event.message_id not in ids(store)
    assert statuses(store)[-1] == "held"


def test_a_profile_that_changed_hands_is_ambiguous_by_its_last_sighting_without_the_address(store: Store) -> None:
    feed(store, identify(0, None, "u1", JANE), identify(0, None, "u2", "joe@x.test"))
    feed(store, klaviyo(0, JANE, "P"), klaviyo(1, "joe@x.test", "P"), klaviyo(3, JANE, "P"))
    event = klaviyo(4, JANE, "P")
    feed(store, event)
    assert visitor(store, event) == ("u1", None, JANE, True)


def test_the_same_user_by_both_ways_is_not_ambiguous(store: Store) -> None:
    event = customerio(60, JANE, JANE, "cio1", "u1")
    feed(store, identify(0, "B1", "u1", JANE), event)
    assert visitor(store, event) == ("u1", "B1", JANE, False)


def test_a_late_sighting_of_a_known_link_settles_an_ambiguous_event_that_was_held(store: Store) -> None:
    feed(store, page(0, None, "u1"), customerio(0, JANE, JANE, None, "u1"))
    feed(store, identify(0, None, "u1", "ann@x.test"), identify(0, None, "u2", "joe@x.test"))
    feed(store, klaviyo(0, "ann@x.test", "P"), klaviyo(10, "joe@x.test", "P"))
    event = klaviyo(60, JANE, "P")
    feed(store, event)
    assert visitor(store, event) == (None, None, None, True), "without the address P was Joe's last"
    assert event.message_id not in ids(store)
    feed(store, klaviyo(50, "ann@x.test", "P"))
    assert visitor(store, event) == ("u1", None, JANE, False)
    assert ids(store)[event.message_id] == ("u1", None, JANE)


# -- what counts ------------------------------------------------------------------------------------------------------


def test_each_open_counts_once_when_a_vendor_comes_by_two_channels(store: Store) -> None:
    under = house(("klaviyo",))
    by_source, by_webhook = sourced(60, JANE), klaviyo(60, JANE, "P")
    feed(store, identify(0, "B1", email=JANE), by_source, by_webhook, house=under)
    assert outcomes(store)[by_source.message_id] == Outcome.IGNORED
    assert outcomes(store)[by_webhook.message_id] == Outcome.STITCHED
    assert list(ids(store)) == [by_webhook.message_id]


def test_the_copy_of_the_other_channel_is_evidence_all_the_same(store: Store) -> None:
    under = house(("klaviyo",))
    feed(store, sourced(60, None, "u1", JANE), page(0, "B1", "u1"), house=under)
    event = klaviyo(61, JANE)
    feed(store, event, house=under)
    assert visitor(store, event, under) == ("u1", "B1", JANE, False)


def test_another_vendor_in_segments_stream_still_counts(store: Store) -> None:
    event = sourced(60, JANE, integration="Iterable")
    feed(store, identify(0, "B1", email=JANE), event, house=house(("klaviyo",)))
    assert outcomes(store)[event.message_id] == Outcome.STITCHED


def test_forward_repaired_sends_only_what_arrived_without_a_usable_id(store: Store) -> None:
    under = house((), (("sources/klaviyo.toml", 'forward = "repaired"'),))
    whole, broken = sourced(60, "B1", email=JANE), sourced(61, JANE)
    feed(store, identify(0, "B1", email=JANE), whole, broken, house=under)
    assert outcomes(store)[whole.message_id] == Outcome.PASSED
    assert outcomes(store)[broken.message_id] == Outcome.STITCHED
    assert list(ids(store)) == [broken.message_id]


def test_a_word_the_mapping_does_not_list_is_ignored(store: Store) -> None:
    event = klaviyo(60, JANE, "P", "subscribed_to_list")
    feed(store, identify(0, "B1", email=JANE), event)
    assert outcomes(store)[event.message_id] == Outcome.IGNORED
    assert statuses(store) == []


# -- waiting ----------------------------------------------------------------------------------------------------------


def test_a_compliance_event_waits_an_hour_from_its_receipt_and_others_three_days(store: Store) -> None:
    received = {name: sourced(0, JANE, event=name) for name in ("Email Bounced", "Email Unsubscribed", "Email Opened")}
    feed(store, *received.values())
    assert expire(store, 0.99) == 0
    assert expire(store, 1) == 2
    assert sorted(statuses(store)) == ["held", "pending", "pending"]
    assert expire(store, 72) == 1


@pytest.mark.parametrize(("policy", "status"), [("drop", "dropped"), ("hold", "held")])
def test_what_expires_can_be_dropped_or_held_for_ever(store: Store, policy: str, status: str) -> None:
    under = house((), (("destinations/segment.toml", f'on_expiry = "{policy}"'),))
    feed(store, story(), house=under)
    expire(store, 1_000, under)
    assert statuses(store) == [status]
    assert ids(store) == {}


def test_an_event_that_nobody_can_be_found_in_never_stops_the_others_from_expiring(store: Store) -> None:
    junk = sourced(0, "null", "undefined", messageId="junk")
    feed(store, junk, story())
    expire(store, 80)
    assert "e1" in ids(store)
    assert outcomes(store)["junk"] in (Outcome.QUARANTINED, Outcome.IGNORED)


def test_the_opaque_id_waits_for_the_user_id_and_is_not_joined_by_a_browser(store: Store) -> None:
    feed(store, story())
    expire(store, 72)
    feed(store, identify(100, "B1", email=JANE))
    assert [body["type"] for body in left(store).values()] == ["track"]
    with store.reading() as tx:
        assert list(tx.scalars(sa.select(opaque_ids.c.joined_user_id))) == [None]


def test_a_hash_that_expired_is_joined_when_its_email_turns_out_to_have_a_user_id(store: Store) -> None:
    feed(store, sourced(60, md5(JANE), messageId="e1"))
    expire(store, 72)
    opaque = house().keys.opaque_id(Identifier("anonymous_id", md5(JANE)))
    assert ids(store) == {"e1": (None, opaque, None)}
    feed(store, identify(100, "B1", "u1", JANE))
    assert joins(store) == [("u1", opaque)]


def test_a_profile_that_expired_is_joined_through_the_address_it_had_then(store: Store) -> None:
    feed(store, klaviyo(60, None, "P", message_id="e1"))
    expire(store, 72)
    opaque = house().keys.opaque_id(Identifier("klaviyo_profile_id", "P"))
    feed(store, klaviyo(70, JANE, "P"))
    feed(store, identify(100, "B1", "u1", JANE))
    assert joins(store) == [("u1", opaque)]


def test_a_known_hash_expires_under_the_opaque_id_of_its_address(store: Store) -> None:
    feed(store, sourced(60, JANE, messageId="e1"), sourced(61, md5(JANE), messageId="e2"))
    expire(store, 72)
    opaque = house().keys.opaque_id(Identifier("email", JANE))
    assert ids(store) == {"e1": (None, opaque, JANE), "e2": (None, opaque, JANE)}


def test_an_event_between_two_users_is_joined_by_a_declared_link_only(store: Store) -> None:
    feed(store, page(0, "B1", "u1"), page(0, "B2", "u2"))
    feed(store, customerio(10, JANE, JANE, "cio1", "u1"), sourced(60, None, "u2", JANE))
    expire(store, 72)
    feed(store, klaviyo(80, JANE, "P"))  # news about the address, but nobody's word for either user
    assert joins(store) == []
    feed(store, identify(90, "B1", "u1", JANE))
    assert joins(store) == [("u1", house().keys.opaque_id(Identifier("email", JANE)))]


def joins(store: Store) -> list[tuple[str, str]]:
    """The identifies that join an opaque id to a userId."""
    with store.reading() as tx:
        bodies = [orjson.loads(body) for body in tx.scalars(sa.select(outbox.c.body).order_by(outbox.c.id))]
    return [(body["userId"], body["anonymousId"]) for body in bodies if body["type"] == "identify"]


@pytest.mark.parametrize("kind", ["Email Sent", "Clicked SMS", None])
def test_what_an_email_platforms_source_calls_a_user_id_is_the_platforms(store: Store, kind: str | None) -> None:
    context = {"integration": {"name": "Iterable"}, "traits": {"email": JANE}}
    told = call(0, type="track" if kind else "identify", event=kind, userId="vend-7", anonymousId=JANE, context=context)
    event = sourced(60, JANE, integration="Iterable")
    feed(store, told, event)
    assert visitor(store, event) == (None, None, None, False), "no call of the site has carried vend-7"
    feed(store, page(70, "B1", "vend-7"))
    assert visitor(store, event) == ("vend-7", "B1", JANE, False)


def test_the_user_id_told_with_an_address_is_kept_where_a_limit_keeps_the_two_apart(store: Store) -> None:
    sixth = customerio(60, "sixth@x.test", "sixth@x.test", "cio1", "u1")
    feed(store, *(identify(n, "B1", "u1", f"{n}@x.test") for n in range(5)), sixth)
    assert visitor(store, sixth)[0] == "u1"
    assert outcomes(store)[sixth.message_id] == Outcome.PASSED


def test_mail_for_somebody_else_than_the_profile_waits_for_them(store: Store) -> None:
    event = customerio(60, "boss@x.test", JANE, "cio1", "u1")
    feed(store, page(0, "B1", "u1"), event)
    assert visitor(store, event) == (None, None, None, False)
    assert outcomes(store)[event.message_id] == Outcome.HELD
    feed(store, identify(70, "B7", email="boss@x.test"))
    assert ids(store) == {event.message_id: (None, "B7", "boss@x.test")}


def test_further_ids_in_the_context_do_not_leave_beside_ours(store: Store) -> None:
    external = [{"id": "other", "type": "user_id", "collection": "users", "encoding": "none"}]
    context = {"externalIds": external, "device": {"advertisingId": "A"}, "locale": "en"}
    feed(store, identify(0, "B1", email=JANE), sourced(60, JANE, context=context, messageId="e1"))
    assert set(left(store)["e1"]["context"]) == {"locale", "integration", "connector", "traits"}


def test_half_a_character_beside_a_huge_number_is_no_defect(store: Store) -> None:
    body = '{"type":"track","event":"Email Opened","anonymousId":"jane@x.test","messageId":"e1",'
    body += '"properties":{"cut":"\\ud83d","big":123456789012345678901234567890}}'
    feed(store, identify(0, "B1", email=JANE), Received("segment", "e1", body, NOW))
    assert ids(store) == {"e1": (None, "B1", JANE)}


def test_an_address_whose_digest_has_decimal_digits_only_is_learned(store: Store) -> None:
    email = "user205797@example.com"
    assert md5(email).isdecimal()
    feed(store, identify(0, "B1", email=email), sourced(60, email, messageId="e1"))
    assert ids(store) == {"e1": (None, "B1", email)}


ACME = """
name = "Acme"
secrets = "ACME_SECRETS"
[event]
path = ["event"]
[event.names]
"opened" = "Email Opened"
[identifiers]
recipient = ["email"]
"""


def test_what_was_quarantined_is_stitched_after_a_fix(store: Store) -> None:
    unknown = Received("acme", "b1", orjson.dumps({"event": "opened", "email": JANE}).decode(), NOW)
    feed(store, identify(0, "B1", email=JANE), unknown)
    assert outcomes(store)["b1"] == Outcome.QUARANTINED
    with store.reading() as tx:
        assert counted(tx)["quarantined"] == 1
    mended = house((), (), (("sources/acme.toml", ACME),))
    feed(store, operate.retry_quarantined(NOW, reason="a mapping was added"), house=mended)
    feed(store, house=mended)
    assert outcomes(store)["b1"] == Outcome.STITCHED
    assert ids(store) == {"b1": (None, "B1", JANE)}
    with store.reading() as tx:
        assert "quarantined" not in counted(tx)


# -- consent ----------------------------------------------------------------------------------------------------------


def consenting(minutes: float, anonymous: str | None, user: str | None, email: str | None, **granted: bool) -> Received:
    return identify(minutes, anonymous, user, email, context={"consent": {"categoryPreferences": granted}})


def test_the_strictest_of_the_last_consents_of_a_persons_identifiers_leaves(store: Store) -> None:
    feed(
        store,
        consenting(0, "B1", "u1", JANE, ads=False, mail=False),
        consenting(10, "B1", "u1", JANE, ads=True, mail=True),
        consenting(20, "B2", "u1", None, ads=False),
        consenting(5, None, None, "joe@x.test", mail=False),
    )
    feed(store, story())
    body = left(store)["e1"]
    assert said(body) == ("u1", "B2", JANE)
    assert body["context"]["consent"] == {"categoryPreferences": {"ads": False, "mail": True}}


def test_no_consent_is_said_where_none_is_known(store: Store) -> None:
    feed(store, identify(0, "B1", "u1", JANE), story())
    assert "consent" not in left(store)["e1"]["context"]


# -- what leaves ------------------------------------------------------------------------------------------------------


def test_an_outgoing_event_is_segments_spec_and_does_not_go_back_to_its_vendor(store: Store) -> None:
    feed(store, identify(0, "B1", email=JANE))
    feed(store, sourced(60, JANE, event="Email Unsubscribed", messageId="e1", properties={"list_id": "L"}))
    body: dict[str, Any] = left(store)["e1"]
    assert body == {
        "type": "track",
        "event": "Unsubscribed",
        "messageId": house().keys.outgoing_id("segment/e1", "segment"),
        "timestamp": "2026-09-11T01:00:00.000Z",
        "anonymousId": "B1",
        "properties": {"list_id": "L"},
        "context": {
            "traits": {"email": JANE},
            "integration": dict(house().destination.integration),
            "connector": {"vendor": "klaviyo", "source": "segment", "messageId": "e1"},
        },
        "integrations": {"All": True, "Klaviyo": False, "Klaviyo (Actions)": False},
    }
    assert len(body["messageId"]) <= 100


def test_the_address_a_mail_scanner_came_from_does_not_leave(store: Store) -> None:
    feed(store, identify(0, "B1", email=JANE))
    context = {"integration": {"name": "SendGrid"}, "ip": "203.0.113.9", "userAgent": "scanner", "locale": "de"}
    feed(store, sourced(60, JANE, event="Email Machine Opened", messageId="e1", context=context))
    body = left(store)["e1"]
    assert (body["event"], body["properties"]) == ("Email Opened", {"machine_open": True})
    assert body["context"].keys() & {"ip", "userAgent", "locale"} == {"locale"}


def test_a_message_that_only_teaches_sends_nothing(store: Store) -> None:
    feed(store, page(0, "B1"), identify(1, "B1", "u1", JANE), call(2, type="group", groupId="G", userId="u1"))
    assert statuses(store) == []
    assert set(outcomes(store).values()) == {Outcome.LEARNED}
