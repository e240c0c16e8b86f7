"""The answers of ``connector.answers`` about messages that really went through the inbox and the stages."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from connector import answers, counters, inbox, operate, queue
from connector.messages import HOUR, MINUTE, Identifier, Received
from connector.store import Store
from tests.told import NOW, call, expire, feed, house, identify, opened, page

HOUSE = house()
DAY_ONE = "2026-09-01T"


def link_id(kind: str, left: tuple[str, str], right: tuple[str, str]) -> str:
    return HOUSE.keys.link_id(Identifier(*left), Identifier(*right), kind)


def link(left: tuple[str, str], right: tuple[str, str], at: str, message_id: str, last: str = "") -> dict[str, Any]:
    """A declared link as answers show it. Args: at and last are times of day."""
    return {
        "link_id": link_id("declared", left, right),
        "kind": "declared",
        "left": {"type": left[0], "value": left[1]},
        "right": {"type": right[0], "value": right[1]},
        "first_at": f"{DAY_ONE}{at}.000Z",
        "last_at": f"{DAY_ONE}{last or at}.000Z",
        "message_id": message_id,
        "proved_by": f"segment/{message_id}",
    }


def seen(type_name: str, value: str, first: str, last: str) -> dict[str, str]:
    return {"type": type_name, "value": value, "first_at": f"{DAY_ONE}{first}.000Z", "last_at": f"{DAY_ONE}{last}.000Z"}


def message(store: Store, message_id: str) -> dict[str, Any]:
    with store.reading() as tx:
        found = answers.message(tx, HOUSE, message_id)
    assert found is not None
    return found


def profile(store: Store, type_name: str, value: str) -> dict[str, Any]:
    with store.reading() as tx:
        found = answers.profile(tx, HOUSE, type_name, value)
    assert found is not None
    return found


def log(store: Store, **filters: Any) -> tuple[list[str], int | None]:
    with store.reading() as tx:
        found = answers.log_page(tx, **filters)
    return [one["message_id"] for one in found["entries"]], found["next"]


def lines(found: Iterable[Any]) -> bytes:
    return b"\n".join(orjson.dumps(one) for one in found)


JANE = ("email", "jane@x.test")
A1 = ("anonymous_id", "A1")
U1 = ("user_id", "U1")
U2 = ("user_id", "U2")


# -- stats --------------------------------------------------------------------------------------------------------


def test_the_numbers_of_an_empty_store_have_no_rate(store: Store) -> None:
    with store.reading() as tx:
        assert answers.stats(tx) == {
            "messages": {
                "received": 0,
                "waiting": 0,
                "quarantined": 0,
                "duplicates": 0,
                "conflicting_duplicates": 0,
                "rejected": 0,
                "rejected_by": {},
            },
            "email_events": dict.fromkeys(
                ("total", "passed", "stitched", "stitched_late", "held", "expired", "ambiguous", "ignored"), 0
            ),
            "orphan_rate": {"before": None, "after": None},
            "profiles": 0,
            "links": 0,
            "refused_links": 0,
            "outbox": {"segment": {"held": 0, "pending": 0, "delivered": 0, "dead": 0}},
        }


def test_the_numbers_follow_every_event_from_receipt_to_outcome(store: Store) -> None:
    early = opened("o1", "09:00:00", "jane@x.test")
    feed(
        store, HOUSE, [early, opened("o9", "09:30:00", "never@x.test"), call("bad", "09:00:00", type="track", userId=3)]
    )
    feed(store, HOUSE, [early, page("p1", "10:00:00", "A1"), identify("i1", "10:05:00", "A1", email="jane@x.test")])
    feed(store, HOUSE, [opened("o2", "11:00:00", "jane@x.test"), opened("o3", "11:00:00", "x", anonymousId="A1")])
    expire(store, HOUSE, NOW + 73 * HOUR)
    with store.writing() as tx:
        counters.add(tx, "rejected.klaviyo.signature", 2)
        counters.add(tx, "rejected.klaviyo.closed", 3)
        inbox.store(tx, [page("p2", "12:00:00", "A1"), operate.retry_quarantined(NOW)])
    with store.reading() as tx:
        assert answers.stats(tx) == {
            "messages": {
                "received": 8,
                "waiting": 1,
                "quarantined": 1,
                "duplicates": 1,
                "conflicting_duplicates": 0,
                "rejected": 5,
                "rejected_by": {"klaviyo": {"closed": 3, "signature": 2}},
            },
            "email_events": {
                "total": 4,
                "passed": 1,
                "stitched": 1,
                "stitched_late": 1,
                "held": 0,
                "expired": 1,
                "ambiguous": 0,
                "ignored": 0,
            },
            "orphan_rate": {"before": 0.75, "after": 0.25},
            "profiles": 2,
            "links": 1,
            "refused_links": 0,
            "outbox": {"segment": {"held": 0, "pending": 4, "delivered": 0, "dead": 0}},
        }


def test_what_is_tried_again_waits_but_is_not_received_twice(store: Store) -> None:
    feed(store, HOUSE, [call("bad", "09:00:00", type="track", userId=3)])
    feed(store, HOUSE, [operate.retry_quarantined(NOW)])  # puts it back into the inbox
    with store.reading() as tx:
        told = answers.stats(tx)["messages"]
    assert (told["received"], told["waiting"], told["quarantined"]) == (1, 1, 1)


# -- one message --------------------------------------------------------------------------------------------------


def test_a_stitched_event_is_told_with_its_evidence_and_what_left(store: Store) -> None:
    event = opened("o1", "11:00:00", "Jane@X.test")
    feed(store, HOUSE, [identify("i1", "10:05:00", "A1", email="jane@x.test"), event])
    person = profile(store, *JANE)["profile_id"]
    outgoing = HOUSE.keys.outgoing_id("segment/o1", "segment")
    reason = "the address was seen with this browser at 2026-09-01T10:05:00.000Z"
    expected = {
        "message": {
            "message_id": "o1",
            "source": "segment",
            "type": "track",
            "event": "Email Opened",
            "vendor": "klaviyo",
            "at": "2026-09-01T11:00:00.000Z",
            "received_at": "2026-09-10T00:00:00.000Z",
            "authenticated": True,
            "identifiers": [{"type": "email", "value": "jane@x.test"}],
            "notes": [],
            "raw": event.body,
        },
        "decision": {
            "outcome": "stitched",
            "profile_id": person,
            "user_id": None,
            "anonymous_id": "A1",
            "reason": reason,
            "evidence": [link(JANE, A1, "10:05:00", "i1")],
        },
        "considered": [
            {
                "anonymous_id": "A1",
                "seen_with": {"type": "email", "value": "jane@x.test"},
                "seen_at": "2026-09-01T10:05:00.000Z",
                "chosen": True,
                "why": "the addressee's, and seen with them last before the event, or first after it",
            }
        ],
        "refused": [],
        "taught": [],
        "deliveries": [
            {
                "destination": "segment",
                "status": "pending",
                "message_id": outgoing,
                "body": {
                    "type": "track",
                    "event": "Email Opened",
                    "messageId": outgoing,
                    "timestamp": "2026-09-01T11:00:00.000Z",
                    "properties": {},
                    "context": {
                        "integration": {"name": "email-identity-connector", "version": "1.0.0"},
                        "connector": {"vendor": "klaviyo", "source": "segment", "messageId": "o1"},
                        "traits": {"email": "jane@x.test"},
                    },
                    "integrations": {"All": True, "Klaviyo": False, "Klaviyo (Actions)": False},
                    "anonymousId": "A1",
                },
                "attempts": [],
            }
        ],
        "visitor": {"profile_id": person, "user_id": None, "anonymous_id": "A1", "reason": reason},
        "since_then": None,
    }
    assert message(store, "o1") == expected
    assert message(store, outgoing) == expected, "the outgoing messageId leads to the same message"
    assert message(store, "segment/o1") == expected, "and so does the one with its source"


def test_the_attempts_of_a_delivery_are_told_in_order(store: Store) -> None:
    feed(store, HOUSE, [identify("i1", "10:05:00", "A1", email="jane@x.test"), opened("o1", "11:00:00", "jane@x.test")])
    with store.writing() as tx:
        batch = queue.claim(tx, "segment", claimer="w", now=NOW, limit=10, for_ms=MINUTE)
        queue.settle(
            tx, "segment", [queue.postponed(batch, "refused", "429 slow down", NOW + HOUR)], claimer="w", now=NOW
        )
    with store.writing() as tx:
        batch = queue.claim(tx, "segment", claimer="w", now=NOW + HOUR, limit=10, for_ms=MINUTE)
        queue.settle(tx, "segment", [queue.delivered(batch, "200")], claimer="w", now=NOW + HOUR)
    (delivery,) = message(store, "o1")["deliveries"]
    assert delivery["status"] == "delivered"
    assert delivery["attempts"] == [
        {"at": "2026-09-10T00:00:00.000Z", "status": "refused", "detail": "429 slow down"},
        {"at": "2026-09-10T01:00:00.000Z", "status": "delivered", "detail": "200"},
    ]


def test_a_held_event_says_what_it_waits_for_and_until_when(store: Store) -> None:
    feed(store, HOUSE, [opened("o1", "11:00:00", "jane@x.test")])
    found = message(store, "o1")
    assert found["decision"]["outcome"] == "held"
    assert found["visitor"] == {
        "profile_id": profile(store, *JANE)["profile_id"],
        "user_id": None,
        "anonymous_id": None,
        "reason": "nothing known joins the addressee to a visitor of the site or to a userId yet",
    }
    assert found["held"]["expires_at"] == "2026-09-13T00:00:00.000Z"
    assert found["held"]["waits_for"] == [{"type": "email", "value": "jane@x.test"}]
    feed(store, HOUSE, [identify("i1", "10:05:00", "A1", email="jane@x.test")])
    assert "held" not in message(store, "o1")


def test_a_user_id_learned_after_an_event_left_enriches_it(store: Store) -> None:
    feed(store, HOUSE, [identify("i1", "10:05:00", "A1", email="jane@x.test"), opened("o1", "11:00:00", "jane@x.test")])
    feed(store, HOUSE, [identify("i2", "13:00:00", "A1", user_id="U1", email="jane@x.test")])
    found = message(store, "o1")
    assert (found["decision"]["user_id"], found["decision"]["anonymous_id"]) == (None, "A1")
    assert (found["visitor"]["user_id"], found["visitor"]["anonymous_id"]) == ("U1", "A1")
    assert found["since_then"] == "enriched"


def test_evidence_that_names_another_person_afterwards_reattributes(store: Store) -> None:
    feed(
        store,
        HOUSE,
        [identify("i2", "13:00:00", "A1", user_id="U1", email="jane@x.test"), opened("o1", "14:00:00", "jane@x.test")],
    )
    assert message(store, "o1")["since_then"] is None
    # earlier than anything known, but the message came late: the address was U2's first, and U1's link is refused
    feed(store, HOUSE, [identify("i0", "09:00:00", "A2", user_id="U2", email="jane@x.test")])
    feed(store, HOUSE, [identify("i3", "13:30:00", "A2", user_id="U2", email="jane@x.test")])
    found = message(store, "o1")
    assert (found["decision"]["user_id"], found["visitor"]["user_id"]) == ("U1", "U2")
    assert found["since_then"] == "reattributed"
    assert found["decision"]["profile_id"] == profile(store, *U1)["profile_id"]
    assert found["visitor"]["profile_id"] == profile(store, *U2)["profile_id"]


def test_an_expired_event_is_enriched_when_its_addressee_becomes_known(store: Store) -> None:
    feed(store, HOUSE, [opened("o1", "11:00:00", "jane@x.test")])
    expire(store, HOUSE, NOW + 73 * HOUR)
    assert message(store, "o1")["since_then"] is None
    feed(store, HOUSE, [identify("i2", "13:00:00", "A1", user_id="U1", email="jane@x.test")])
    found = message(store, "o1")
    assert (found["decision"]["outcome"], found["since_then"]) == ("expired", "enriched")
    assert [one["body"]["type"] for one in found["deliveries"]] == ["track", "identify"]


def test_a_site_call_is_told_with_the_person_it_belongs_to(store: Store) -> None:
    feed(store, HOUSE, [page("p1", "10:00:00", "A1"), identify("i1", "10:05:00", "A1", email="jane@x.test", phone="0")])
    found = message(store, "p1")
    assert found["decision"] == {
        "outcome": "learned",
        "profile_id": profile(store, *JANE)["profile_id"],
        "user_id": None,
        "anonymous_id": "A1",
        "reason": "nothing to link",
        "evidence": [],
    }
    assert (found["visitor"], found["deliveries"]) == (None, [])
    found = message(store, "i1")["message"]
    assert found["identifiers"] == [{"type": "email", "value": "jane@x.test"}, {"type": "anonymous_id", "value": "A1"}]
    assert found["notes"] == ["traits.phone names nobody (blocked or malformed value) and was not used"]


def test_what_cannot_be_read_is_told_as_quarantined_with_its_body(store: Store) -> None:
    bad = call("bad", "09:00:00", type="track", userId=3)
    feed(store, HOUSE, [bad])
    found = message(store, "bad")
    assert (found["message"]["raw"], found["message"]["identifiers"]) == (bad.body, [])
    assert found["decision"]["outcome"] == "quarantined"
    assert found["decision"]["reason"] == "userId: expected text, found a number"


def test_a_message_nobody_has_read_yet_is_told_as_waiting(store: Store) -> None:
    with store.writing() as tx:
        inbox.store(tx, [page("p1", "10:00:00", "A1")])
    found = message(store, "p1")
    assert (found["decision"]["outcome"], found["message"]["source"]) == ("waiting", "segment")
    with store.reading() as tx:
        assert answers.message(tx, HOUSE, "p2") is None


def test_a_message_id_of_two_sources_leads_to_both(store: Store) -> None:
    feed(
        store,
        HOUSE,
        [page("m", "10:00:00", "A1"), call("m", "11:00:00", source="tracking_api", type="page", anonymousId="A2")],
    )
    found = message(store, "m")
    assert (found["message"]["source"], found["same_id_from"]) == ("segment", ["tracking_api"])
    assert message(store, "tracking_api/m")["message"]["identifiers"] == [{"type": "anonymous_id", "value": "A2"}]


# -- a person -----------------------------------------------------------------------------------------------------


def test_a_person_is_told_with_browsers_in_turns_links_and_refusals(store: Store) -> None:
    feed(
        store,
        HOUSE,
        [
            page("p1", "10:00:00", "A1"),
            identify("i1", "10:05:00", "A1", email="jane@x.test"),
            identify("i2", "13:00:00", "A1", user_id="U1", email="jane@x.test"),
            identify("i3", "14:00:00", "A1", user_id="U2"),
            page("p2", "14:30:00", "A1"),
            identify("i4", "15:00:00", "A1", user_id="U1"),
            identify("i5", "16:00:00", None, user_id="U2", email="jane@x.test"),
        ],
    )
    found = profile(store, *U1)
    timeline = found.pop("timeline")
    assert found == {
        "profile_id": HOUSE.keys.profile_id(HOUSE.rules.identify(*JANE)),  # type: ignore[arg-type]  # it is one
        "identifiers": [seen(*U1, "13:00:00", "15:00:00"), seen(*JANE, "10:05:00", "16:00:00")],
        "traits": {"email": "jane@x.test"},
        "browsers": [
            {"anonymous_id": "A1", "from": None, "until": "2026-09-01T14:00:00.000Z"},
            {"anonymous_id": "A1", "from": "2026-09-01T15:00:00.000Z", "until": None},
        ],
        "links": sorted(
            [
                link(JANE, A1, "10:05:00", "i1"),
                link(U1, JANE, "13:00:00", "i2"),
                link(U1, A1, "13:00:00", "i2", last="15:00:00"),
            ],
            key=lambda one: (one["first_at"], one["link_id"]),
        ),
        "refused": [
            {
                **link(U2, JANE, "16:00:00", "i5"),
                "because": "a person has at most 1 user_id: this link would make one person of user_id U2 and"
                " user_id U1",
            }
        ],
    }
    assert [one["message_id"] for one in timeline] == ["i5", "i4", "i2", "i1", "p1"], (
        "not p2: the browser was U2's then"
    )
    with store.reading() as tx:
        assert answers.profile_by_id(tx, HOUSE, found["profile_id"]) == {**found, "timeline": timeline}
        assert answers.profile(tx, HOUSE, "email", " JANE@x.test ") == {**found, "timeline": timeline}
        assert answers.profile_by_id(tx, HOUSE, "0" * 24) is None
        assert answers.profile(tx, HOUSE, "email", "nobody@x.test") is None
        assert answers.profile(tx, HOUSE, "email", "not an address") is None


def test_the_other_of_two_people_on_a_browser_has_the_time_between(store: Store) -> None:
    feed(
        store,
        HOUSE,
        [
            identify("i1", "10:00:00", "A1", user_id="U1"),
            identify("i2", "11:00:00", "A1", user_id="U2"),
            identify("i3", "12:00:00", "A1", user_id="U1"),
        ],
    )
    assert profile(store, *U2)["browsers"] == [
        {"anonymous_id": "A1", "from": "2026-09-01T11:00:00.000Z", "until": "2026-09-01T12:00:00.000Z"}
    ]
    assert profile(store, *A1)["profile_id"] == profile(store, *U1)["profile_id"], (
        "a browser is answered with its latest owner"
    )


def test_a_merged_person_is_found_under_the_ids_of_both(store: Store) -> None:
    feed(
        store,
        HOUSE,
        [identify("i1", "10:00:00", "A1", user_id="U1"), identify("i2", "09:00:00", "A2", email="jane@x.test")],
    )
    ids = [profile(store, *one)["profile_id"] for one in (U1, JANE)]
    feed(store, HOUSE, [identify("i3", "11:00:00", None, user_id="U1", email="jane@x.test")])
    with store.reading() as tx:
        found = [answers.profile_by_id(tx, HOUSE, one) for one in ids]
    assert [one and one["profile_id"] for one in found] == [ids[1], ids[1]], "the older id stays"


def test_a_browser_of_nobody_has_the_shape_of_a_profile(store: Store) -> None:
    feed(store, HOUSE, [page("p1", "10:00:00", "A1")])
    found = profile(store, *A1)
    assert [one["message_id"] for one in found.pop("timeline")] == ["p1"]
    assert found == {
        "profile_id": None,
        "identifiers": [seen(*A1, "10:00:00", "10:00:00")],
        "traits": {},
        "browsers": [],
        "links": [],
        "refused": [],
    }


def test_very_many_browsers_are_cut_in_an_answer_and_whole_in_an_export(store: Store) -> None:
    feed(
        store, HOUSE, [identify(f"i{n}", f"10:{n // 60:02}:{n % 60:02}", f"B{n:03}", user_id="U1") for n in range(130)]
    )
    found = profile(store, *U1)
    assert [one["anonymous_id"] for one in found["browsers"]] == [f"B{n:03}" for n in range(129, 29, -1)]
    assert "truncated" in found
    with store.reading() as tx:
        (exported,) = answers.export_profiles(tx, HOUSE)
    assert (len(exported["browsers"]), len(exported["links"]), "truncated" in exported) == (130, 130, False)


def test_a_hash_of_an_address_joins_by_an_implied_link_with_the_times_of_the_hash(store: Store) -> None:
    digest = hashlib.sha256(b"jane@x.test").hexdigest()
    feed(store, HOUSE, [opened("o1", "09:00:00", digest), opened("o2", "09:30:00", digest)])
    feed(store, HOUSE, [identify("i1", "10:05:00", "A1", email="jane@x.test")])
    found = profile(store, "anonymous_id", digest)
    hashed = ("anonymous_id", digest)
    implied = {**link(JANE, hashed, "09:00:00", "o1", last="09:30:00"), "kind": "implied"}
    assert found["identifiers"] == [seen(*JANE, "10:05:00", "10:05:00"), seen(*hashed, "09:00:00", "09:30:00")]
    assert found["links"] == [
        {**implied, "link_id": link_id("implied", JANE, hashed)},
        link(JANE, A1, "10:05:00", "i1"),
    ]
    assert [one["anonymous_id"] for one in found["browsers"]] == ["A1"], "the hash is no browser"
    assert message(store, "o1")["visitor"]["anonymous_id"] == "A1"


# -- lists --------------------------------------------------------------------------------------------------------


def test_the_log_is_paged_newest_first_and_filtered(store: Store) -> None:
    for one in (
        page("p1", "10:00:00", "A1"),
        opened("o1", "11:00:00", "jane@x.test"),
        page("p2", "12:00:00", "A2"),
        identify("i1", "13:00:00", "A2", email="jane@x.test"),
        call("x", "9:00", type="nonsense"),
    ):
        feed(store, HOUSE, [one])
    newest, following = log(store, limit=2)
    assert newest == ["x", "i1"]
    assert log(store, limit=2, before=following) == (["p2", "o1"], 2)
    assert log(store, limit=2, before=2) == (["p1"], None)
    assert log(store, outcome="stitched_late") == (["o1"], None)
    assert log(store, event="Email Opened", source="segment") == (["o1"], None)
    assert log(store, source="klaviyo") == ([], None)
    assert log(store, q="p2") == (["p2"], None)
    assert log(store, q=HOUSE.keys.outgoing_id("segment/o1", "segment")) == (["o1"], None)
    assert log(store, q="JANE@x.test", limit=1) == (["i1"], 4)
    assert log(store, q="JANE@x.test", limit=1, before=4) == (["o1"], None)
    assert log(store, q="jane") == ([], None), "exactly, or every search would be a scan"


def test_a_filter_without_index_looks_at_a_bounded_stretch_and_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.answers.listing.SCAN", 2)
    for one in (opened("o1", "11:00:00", "jane@x.test"), *(page(f"p{n}", "12:00:00", "A1") for n in range(3))):
        feed(store, HOUSE, [one])
    assert log(store, event="Email Opened") == ([], 3)
    assert log(store, event="Email Opened", before=3) == (["o1"], 1)
    assert log(store, event="Email Opened", before=1) == ([], None)


def test_an_entry_of_the_log_is_whole(store: Store) -> None:
    feed(store, HOUSE, [opened("o1", "11:00:00", "jane@x.test")])
    with store.reading() as tx:
        assert answers.log_page(tx)["entries"] == [
            {
                "id": 1,
                "source": "segment",
                "message_id": "o1",
                "type": "track",
                "event": "Email Opened",
                "vendor": "klaviyo",
                "at": "2026-09-01T11:00:00.000Z",
                "received_at": "2026-09-10T00:00:00.000Z",
                "authenticated": True,
                "outcome": "held",
                "reason": "nothing known joins the addressee to a visitor of the site or to a userId yet",
                "notes": [],
                "user_id": None,
                "anonymous_id": None,
                "recipient": {"type": "email", "value": "jane@x.test"},
            }
        ]


def test_what_is_held_dead_or_quarantined_is_listed_with_a_way_out(store: Store) -> None:
    feed(
        store,
        HOUSE,
        [opened("o1", "11:00:00", "late@x.test"), opened("o2", "11:00:00", "soon@x.test", event="Unsubscribed")],
    )
    feed(store, HOUSE, [identify("i1", "10:05:00", "A1", email="jane@x.test"), opened("o3", "11:00:00", "jane@x.test")])
    feed(store, HOUSE, [call("bad", "09:00:00", type="track", userId=3)])
    with store.writing() as tx:
        batch = queue.claim(tx, "segment", claimer="w", now=NOW, limit=10, for_ms=MINUTE)
        queue.settle(tx, "segment", [queue.dead(batch, "refused", "400 too large")], claimer="w", now=NOW)
    with store.reading() as tx:
        held, dead, quarantined = answers.held(tx), answers.dead(tx), answers.quarantined(tx)
    assert [(one["message_id"], one["expires_at"], one["waits_for"]) for one in held] == [
        ("o2", "2026-09-10T01:00:00.000Z", [{"type": "email", "value": "soon@x.test"}]),
        ("o1", "2026-09-13T00:00:00.000Z", [{"type": "email", "value": "late@x.test"}]),
    ]
    assert dead == [
        {
            "id": batch[0].id,
            "source": "segment",
            "message_id": "o3",
            "event": "Email Opened",
            "at": "2026-09-01T11:00:00.000Z",
            "destination": "segment",
            "outgoing_id": HOUSE.keys.outgoing_id("segment/o3", "segment"),
            "why": "400 too large",
            "since": "2026-09-10T00:00:00.000Z",
            "attempts": 1,
            "may_have_arrived": False,
            "released_by": f"connector retry --dead {batch[0].id}, once the cause is gone",
        }
    ]
    assert [(one["message_id"], one["why"]) for one in quarantined] == [
        ("bad", "userId: expected text, found a number")
    ]
    assert all(one["released_by"] and one["since"] for one in (*held, *quarantined))


def test_no_answer_walks_a_table_that_grows(sqlite_store: Store) -> None:
    """But for the newest or next rows of the log, the outbox and the exports, which are read in order and cut."""
    feed(sqlite_store, HOUSE, stream())
    walked: set[str] = set()
    with sqlite_store.reading() as tx:

        @sa.event.listens_for(sqlite_store.engine, "before_cursor_execute")
        def look(_connection: Any, cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
            if not statement.lstrip().lower().startswith("select"):
                return
            for row in cursor.connection.execute(f"explain query plan {statement}", parameters).fetchall():
                found = re.match(
                    r"SCAN (inbox|identifiers|links|sightings|mentions|attempts|waiting|messages)\b", row[3]
                )
                if found and " limit " not in statement.lower():
                    walked.add(f"{row[3]}: {statement}")

        answers.stats(tx)
        for text in ("m3", "nothing", "e1@x.test", "A1"):
            answers.explain(tx, HOUSE, text)
        for filters in ({}, {"outcome": "held"}, {"q": "e1@x.test"}, {"event": "Email Opened"}, {"before": 9}):
            answers.log_page(tx, **filters)
        for listed in (answers.held, answers.dead, answers.quarantined):
            listed(tx)
        list(answers.export_profiles(tx, HOUSE))
    assert walked == set()


# -- in words -----------------------------------------------------------------------------------------------------


def explain(store: Store, text: str) -> dict[str, Any]:
    with store.reading() as tx:
        return answers.explain(tx, HOUSE, text)


def test_an_explanation_tells_the_path_of_links_and_what_was_refused(store: Store) -> None:
    feed(store, HOUSE, [identify("i1", "10:00:00", "A1", user_id="U1", email="jane@x.test")])
    feed(
        store,
        HOUSE,
        [identify("i2", "12:00:00", None, user_id="U2", email="jane@x.test"), opened("o1", "11:00:00", "jane@x.test")],
    )
    outgoing = HOUSE.keys.outgoing_id("segment/o1", "segment")
    found = explain(store, "o1")
    assert (found["what"], found["decision"]["user_id"]) == ("message", "U1")
    assert found["in_words"] == [
        "Email Opened by klaviyo, of 2026-09-01T11:00:00.000Z, received from segment at 2026-09-10T00:00:00.000Z.",
        "It carried email jane@x.test.",
        "Outcome stitched: the addressee's userId is known; of their browsers this one was seen with the user_id at"
        " 2026-09-01T10:00:00.000Z.",
        "The visitor: user_id U1 with anonymous_id A1.",
        "Because user_id U1 and anonymous_id A1: a call of the site or server carried both, at 2026-09-01T10:00:00.000Z"
        " (message segment/i1).",
        "Because user_id U1 and email jane@x.test: a call of the site or server carried both, at"
        " 2026-09-01T10:00:00.000Z (message segment/i1).",
        f"To segment, as {outgoing}: pending.",
        "Refused: user_id U2 and email jane@x.test: a call of the site or server carried both, at"
        " 2026-09-01T12:00:00.000Z (message segment/i2); a person has at most 1 user_id: this link would make one"
        " person of user_id U2 and user_id U1.",
    ]


def test_an_address_a_browser_and_a_profile_id_are_explained_as_the_person(store: Store) -> None:
    feed(store, HOUSE, [identify("i1", "10:00:00", "A1", user_id="U1", email="jane@x.test")])
    found = explain(store, " Jane@X.test ")
    assert found["what"] == "profile"
    assert found["in_words"][:2] == [
        f"A person, profile {found['profile_id']}: user_id U1, email jane@x.test.",
        "Theirs from its beginning until now: browser A1.",
    ]
    assert explain(store, "A1") == explain(store, "U1") == explain(store, found["profile_id"]) == found


def test_a_browser_is_explained_with_those_it_belonged_to_before(store: Store) -> None:
    feed(
        store,
        HOUSE,
        [
            identify("i1", "10:00:00", "A1", user_id="U1", email="jane@x.test"),
            identify("i2", "11:00:00", "A1", user_id="U2"),
            identify("i3", "12:00:00", "A1", user_id="U1"),
            identify("i4", "13:00:00", "A1", email="kim@x.test"),
        ],
    )
    jane, tom = (profile(store, "user_id", one)["profile_id"] for one in ("U1", "U2"))
    found = explain(store, "A1")
    assert found["earlier_owners"] == [
        {"profile_id": jane, "known_as": {"type": "user_id", "value": "U1"}, "until": f"{DAY_ONE}13:00:00.000Z"},
        {"profile_id": tom, "known_as": {"type": "user_id", "value": "U2"}, "until": f"{DAY_ONE}12:00:00.000Z"},
        {"profile_id": jane, "known_as": {"type": "user_id", "value": "U1"}, "until": f"{DAY_ONE}11:00:00.000Z"},
    ]
    assert found["in_words"][:4] == [
        f"A person, profile {found['profile_id']}: email kim@x.test.",
        f"Theirs from {DAY_ONE}13:00:00.000Z until now: browser A1.",
        f"Before that: profile {jane} (user_id U1), until {DAY_ONE}13:00:00.000Z.",
        f"Before that: profile {tom} (user_id U2), until {DAY_ONE}12:00:00.000Z.",
    ]
    assert "earlier_owners" not in explain(store, "kim@x.test")


def test_what_is_known_since_is_told_of_what_left_only_once_it_did(store: Store) -> None:
    feed(store, HOUSE, [identify("i1", "10:00:00", "A1", email="jane@x.test"), opened("o1", "11:00:00", "jane@x.test")])
    feed(store, HOUSE, [identify("i2", "12:00:00", "A1", user_id="U1", email="jane@x.test")])
    (told,) = [words for words in explain(store, "o1")["in_words"] if "More is known" in words]
    assert told.startswith("More is known now than when it was decided: user_id U1 with anonymous_id A1 (")
    assert told.endswith("It leaves as decided.")
    with store.writing() as tx:
        batch = queue.claim(tx, "segment", claimer="w", now=NOW, limit=10, for_ms=MINUTE)
        queue.settle(tx, "segment", [queue.delivered(batch, "200")], claimer="w", now=NOW)
    words = explain(store, "o1")["in_words"]
    assert "delivered after one attempt, at 2026-09-10T00:00:00.000Z: 200." in "".join(words)
    (told,) = [one for one in words if "More is known" in one]
    assert told.startswith("More is known now than when it left: ")
    assert told.endswith("What left stays as it was sent.")


def test_what_nobody_knows_is_explained_as_unknown(store: Store) -> None:
    assert explain(store, "whoever@x.test")["what"] == "unknown"
    assert "expired" in explain(store, HOUSE.keys.prefix + "anon-1")["in_words"][1]


# -- exports ------------------------------------------------------------------------------------------------------


def stream() -> list[Received]:
    """People with shared browsers, contested addresses, merges, ties in time, and events of all of them."""
    rng = random.Random(7)
    received: list[Received] = []
    for n in range(70):
        at = f"{rng.randrange(8, 20):02}:{rng.randrange(0, 60, 10):02}:00"
        user, email, browser = f"U{rng.randrange(6)}", f"e{rng.randrange(7)}@x.test", f"A{rng.randrange(6)}"
        match rng.randrange(5):
            case 0:
                received.append(identify(f"m{n}", at, browser, email=email))
            case 1:
                received.append(identify(f"m{n}", at, browser, user_id=user))
            case 2:
                received.append(identify(f"m{n}", at, None, user_id=user, email=email))
            case 3:
                received.append(opened(f"m{n}", at, email))
            case _:
                received.append(page(f"m{n}", at, browser))
    return received


def told_of(store: Store, received: list[Received]) -> tuple[bytes, bytes, dict[str, Any]]:
    with store.reading() as tx:
        visitors = {}
        for one in received:
            found = answers.message(tx, HOUSE, one.message_id)
            assert found is not None
            visitors[one.message_id] = found["visitor"]
        return lines(answers.export_profiles(tx, HOUSE)), lines(answers.export_links(tx, HOUSE)), visitors


ORDERS: dict[str, Any] = {}
"""What the first order gave, on either database: the others must give the same."""


@pytest.mark.parametrize("seed", range(4))
def test_exports_and_visitors_are_the_same_in_any_order_batch_and_database(store: Store, seed: int) -> None:
    received = stream()
    rng = random.Random(seed)
    if seed:
        rng.shuffle(received)
        received = received + received[: seed * 5]
    size = (len(received), 1, 7, 23)[seed]
    for start in range(0, len(received), size):
        feed(store, HOUSE, received[start : start + size])
    told = told_of(store, received)
    profiles = [orjson.loads(line) for line in told[0].splitlines()]
    assert told == ORDERS.setdefault("first", told)
    with store.reading() as tx:
        stats = answers.stats(tx)
    assert (stats["profiles"], stats["links"]) == (len(profiles), len(told[1].splitlines()))
    assert stats["refused_links"] > 0, "the stream is meant to hold contested addresses"
    assert [one["profile_id"] for one in profiles] == sorted(one["profile_id"] for one in profiles)


def test_exports_go_on_over_many_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    feed(store, HOUSE, stream())
    whole = told_of(store, [])[:2]
    with store.reading() as tx:
        log_of = list(answers.export_log(tx))
    monkeypatch.setattr("connector.answers.export.PAGE", 3)
    assert told_of(store, [])[:2] == whole
    with store.reading() as tx:
        assert list(answers.export_log(tx)) == log_of
    assert {one["message_id"] for one in log_of} == {f"m{n}" for n in range(70)}
    assert len(log_of) == 70
    assert all("id" not in one for one in log_of)
