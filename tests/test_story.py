"""The story of the product, through HTTP with true signatures, against a stand-in that enforces Segment's contract."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from segment.analytics import Client

from connector.demo.segment import SegmentStandIn, answer, post_webhook
from tests.running import (
    KLAVIYO_SECRET,
    SHARED_SECRET,
    SOURCE_KEY,
    Connector,
    by_message_id,
    eventually,
    klaviyo_event,
)

pytestmark = pytest.mark.slow


@contextmanager
def running(folder: Path, segment: SegmentStandIn, **settings: str) -> Iterator[Connector]:
    with Connector(folder, segment.url, **settings) as connector:
        yield connector


def call(message_id: str, kind: str, at: str, **fields: Any) -> dict[str, Any]:
    return {"messageId": message_id, "type": kind, "timestamp": f"2026-10-01T{at}.000Z", **fields}


def from_klaviyo(message_id: str, event: str, email: str, at: str, **fields: Any) -> dict[str, Any]:
    """What Segment's own Klaviyo source sends when it knows no userId: the address as anonymousId."""
    context = {"integration": {"name": "Klaviyo"}, "traits": {"email": email}}
    return call(message_id, "track", at, event=event, anonymousId=email, context=context, **fields)


def visitor(event: Mapping[str, Any]) -> tuple[str | None, str | None]:
    return event.get("userId"), event.get("anonymousId")


def test_events_of_an_anonymous_subscriber_leave_on_their_browser(tmp_path: Path, segment: SegmentStandIn) -> None:
    with running(tmp_path, segment, KLAVIYO_WEBHOOK_SECRETS=KLAVIYO_SECRET) as connector:
        connector.segment(
            call("p1", "page", "09:00:00", anonymousId="browser-1", userId=None, name="Home"),
            call("i1", "identify", "09:01:00", anonymousId="browser-1", userId=None, traits={"email": "Jane@X.test"}),
        )
        answer = connector.klaviyo(
            klaviyo_event("K1", "received_email", "jane@x.test", "2026-10-01 10:00:00+00:00", Subject="Hi"),
            klaviyo_event("K2", "clicked_email", "jane@x.test", "2026-10-01T10:05:00+00:00", URL="https://x.test/p"),
        )
        connector.segment(from_klaviyo("s1", "Email Unsubscribed", "jane@x.test", "11:00:00"))
        stats = connector.settled()
    assert answer.status_code == 200
    sent = by_message_id(segment.accepted)
    assert {key: [visitor(one) for one in events] for key, events in sent.items()} == {
        "K1": [(None, "browser-1")],
        "K2": [(None, "browser-1")],
    }
    assert sent["K2"][0]["event"] == "Email Link Clicked"
    assert sent["K2"][0]["properties"]["link_url"] == "https://x.test/p"
    assert sent["K2"][0]["originalTimestamp"] == "2026-10-01T10:05:00.000Z"
    assert sent["K2"][0]["context"]["traits"] == {"email": "jane@x.test"}
    assert sent["K2"][0]["integrations"] == {"All": True, "Klaviyo": False, "Klaviyo (Actions)": False}
    # Klaviyo counts by its own webhook here, so the copy from Segment's source is evidence only.
    assert {name: n for name, n in stats["email_events"].items() if n} == {"total": 2, "stitched": 2, "ignored": 1}
    assert stats["orphan_rate"] == {"before": 1.0, "after": 0.0}


def test_segments_own_klaviyo_source_is_repaired(tmp_path: Path, segment: SegmentStandIn) -> None:
    with running(tmp_path, segment) as connector:
        connector.segment(call("i1", "identify", "09:01:00", anonymousId="browser-1", traits={"email": "jane@x.test"}))
        connector.segment(
            from_klaviyo("s1", "Email Delivered", "jane@x.test", "10:00:00"),
            from_klaviyo("s2", "Email Unsubscribed", "jane@x.test", "10:01:00"),
            call(
                "s3",
                "track",
                "10:02:00",
                event="Email Opened",
                anonymousId=hash_of("jane@x.test"),
                context={"integration": {"name": "SendGrid Marketing Campaigns"}},
            ),
        )
        connector.settled()
        reason = connector.decision("s2")["reason"]
    sent = by_message_id(segment.accepted)
    assert {key: [visitor(one) for one in events] for key, events in sent.items()} == {
        "s1": [(None, "browser-1")],
        "s2": [(None, "browser-1")],
        "s3": [(None, "browser-1")],
    }
    assert sent["s2"][0]["event"] == "Unsubscribed"
    assert "the address was seen with this browser" in reason
    assert hash_of("jane@x.test") not in str(segment.accepted)


def hash_of(email: str) -> str:
    return hashlib.sha256(email.encode()).hexdigest()


def test_email_events_first_identify_later(tmp_path: Path, segment: SegmentStandIn) -> None:
    with running(tmp_path, segment) as connector:
        connector.segment(from_klaviyo("s2", "Email Opened", "jane@x.test", "10:05:00"))
        connector.segment(from_klaviyo("s1", "Email Delivered", "jane@x.test", "10:00:00"))
        before = connector.settled()
        assert before["email_events"]["held"] == 2
        assert before["orphan_rate"] == {"before": 1.0, "after": 1.0}
        assert segment.accepted == []
        connector.segment(call("i1", "identify", "12:00:00", anonymousId="browser-1", traits={"email": "jane@x.test"}))
        after = connector.settled()
        decision = connector.decision("s1")
    assert after["email_events"]["stitched_late"] == 2
    assert after["orphan_rate"] == {"before": 1.0, "after": 0.0}
    assert [(one["event"], visitor(one), one["originalTimestamp"]) for one in segment.accepted] == [
        ("Email Delivered", (None, "browser-1"), "2026-10-01T10:00:00.000Z"),
        ("Email Opened", (None, "browser-1"), "2026-10-01T10:05:00.000Z"),
    ]
    assert all(one["properties"]["stitched_late"] is True for one in segment.accepted)
    assert decision["outcome"] == "stitched_late"
    assert [(one["kind"], one["left"]["value"], one["right"]["value"]) for one in decision["evidence"]] == [
        ("declared", "jane@x.test", "browser-1")
    ]


def test_after_the_sign_up_both_ids_leave(tmp_path: Path, segment: SegmentStandIn) -> None:
    with running(tmp_path, segment) as connector:
        connector.segment(
            call("i1", "identify", "09:00:00", anonymousId="browser-1", traits={"email": "jane@x.test"}),
            call("i2", "identify", "09:30:00", anonymousId="browser-1", userId="u1", traits={"email": "jane@x.test"}),
            from_klaviyo("s1", "Email Opened", "jane@x.test", "10:00:00"),
        )
        connector.settled()
    assert [visitor(one) for one in segment.accepted] == [("u1", "browser-1")]


def test_an_address_never_seen_leaves_under_an_opaque_id_and_is_joined_later(
    tmp_path: Path, segment: SegmentStandIn
) -> None:
    with running(tmp_path, segment, HOLD_EMAIL="1s") as connector:
        connector.segment(
            from_klaviyo("s1", "Email Opened", "kim@x.test", "10:00:00"),
            from_klaviyo("s2", "Email Opened", "kim@x.test", "10:01:00"),
        )
        assert eventually(lambda: len(segment.accepted) == 2)
        stats = connector.settled()
        decision = connector.decision("s1")
        opaque = segment.accepted[0]["anonymousId"]
        connector.segment(call("i1", "identify", "12:00:00", userId="u9", traits={"email": "kim@x.test"}))
        assert eventually(lambda: len(segment.accepted) == 3)
        connector.segment(call("i2", "identify", "12:01:00", userId="u9", traits={"email": "kim@x.test"}))
        connector.settled()
    assert decision["outcome"] == "expired"
    assert "nobody was known in time" in decision["reason"]
    assert stats["orphan_rate"] == {"before": 1.0, "after": 1.0}
    assert "kim" not in opaque and "@" not in opaque
    assert {visitor(one) for one in segment.accepted[:2]} == {(None, opaque)}
    joins = segment.accepted[2:]
    assert [(one["type"], visitor(one)) for one in joins] == [("identify", ("u9", opaque))]


def test_everything_twice_shuffled_and_rebatched_leaves_once(tmp_path: Path, segment: SegmentStandIn) -> None:
    calls = [
        call("p1", "page", "09:00:00", anonymousId="browser-1"),
        call("i1", "identify", "09:01:00", anonymousId="browser-1", traits={"email": "jane@x.test"}),
        call("i2", "identify", "09:02:00", anonymousId="browser-2", userId="u2", traits={"email": "kim@x.test"}),
        *(from_klaviyo(f"s{n}", "Email Opened", "jane@x.test", f"10:0{n}:00") for n in range(5)),
        *(from_klaviyo(f"t{n}", "Email Delivered", "kim@x.test", f"11:0{n}:00") for n in range(5)),
    ]
    rng = random.Random(7)
    runs: list[dict[str, str]] = []
    for run in range(2):
        segment.accepted.clear()
        folder = tmp_path / str(run)
        folder.mkdir()
        with running(folder, segment) as connector:
            for _ in range(2):
                rng.shuffle(calls)
                rest = list(calls)
                while rest:
                    size = rng.randint(1, 5)
                    assert connector.segment(*rest[:size])[0] == 200
                    rest = rest[size:]
            stats = connector.settled()
        assert stats["messages"]["duplicates"] == len(calls)
        sent = by_message_id(segment.accepted)
        assert {key: len(events) for key, events in sent.items()} == {
            one["messageId"]: 1 for one in calls if one["type"] == "track"
        }
        runs.append({key: events[0]["messageId"] for key, events in sent.items()})
        segment._seen.clear()  # a day later, for the second run
    assert runs[0] == runs[1]


def test_our_own_event_coming_back_changes_nothing(tmp_path: Path, segment: SegmentStandIn) -> None:
    with running(tmp_path, segment) as connector:
        connector.segment(
            call("i1", "identify", "09:01:00", anonymousId="browser-1", traits={"email": "jane@x.test"}),
            from_klaviyo("s1", "Email Opened", "jane@x.test", "10:00:00"),
        )
        before = connector.settled()
        ours = dict(segment.accepted[0])
        assert connector.segment(ours)[0] == 200
        after = connector.settled()
        decision = connector.get("/api/log?outcome=echo")["entries"]
    assert len(segment.accepted) == 1
    assert {**after["email_events"]} == before["email_events"]
    assert (after["profiles"], after["links"]) == (before["profiles"], before["links"])
    assert len(decision) == 1


def test_two_devices_of_one_person_and_two_people_on_one_browser(tmp_path: Path, segment: SegmentStandIn) -> None:
    with running(tmp_path, segment) as connector:
        connector.segment(
            call("i1", "identify", "08:00:00", anonymousId="laptop", userId="jane", traits={"email": "jane@x.test"}),
            call("i2", "identify", "09:00:00", anonymousId="phone", userId="jane", traits={"email": "jane@x.test"}),
            call("i3", "identify", "10:00:00", anonymousId="laptop", userId="john", traits={"email": "john@x.test"}),
        )
        connector.segment(
            from_klaviyo("s1", "Email Opened", "jane@x.test", "08:30:00"),
            from_klaviyo("s2", "Email Opened", "jane@x.test", "09:30:00"),
            from_klaviyo("s3", "Email Opened", "jane@x.test", "10:30:00"),
            from_klaviyo("s4", "Email Opened", "john@x.test", "10:30:00"),
        )
        stats = connector.settled()
        jane = connector.get("/api/profiles?type=email&value=jane@x.test")
        john = connector.get("/api/profiles?type=email&value=john@x.test")
    assert {key: visitor(events[0]) for key, events in by_message_id(segment.accepted).items()} == {
        "s1": ("jane", "laptop"),
        "s2": ("jane", "phone"),
        "s3": ("jane", "phone"),
        "s4": ("john", "laptop"),
    }
    assert stats["profiles"] == 2
    assert jane["profile_id"] != john["profile_id"]
    assert sorted((one["anonymous_id"], one["until"]) for one in jane["browsers"]) == [
        ("laptop", "2026-10-01T10:00:00.000Z"),
        ("phone", None),
    ]


def test_a_real_segment_library_delivers_through_the_whole_chain(tmp_path: Path, segment: SegmentStandIn) -> None:
    with running(tmp_path, segment) as connector:
        client = Client(SOURCE_KEY, host=connector.url, max_retries=2, timeout=5)
        client.identify(anonymous_id="browser-1", traits={"email": "jane@x.test"})
        client.track(
            anonymous_id="jane@x.test",
            event="Email Opened",
            properties={"campaign_id": "c1"},
            context={"traits": {"email": "jane@x.test"}},
            message_id="from-the-library",
        )
        client.flush()
        client.join()
        connector.settled()
    assert [(visitor(one), one["properties"]) for one in segment.accepted] == [
        ((None, "browser-1"), {"campaign_id": "c1"})
    ]


def test_a_slow_destination_answers_429_and_is_asked_again(tmp_path: Path, segment: SegmentStandIn) -> None:
    segment.script(answer(429, retry_after=1))
    with running(tmp_path, segment) as connector:
        connector.segment(
            call("i1", "identify", "09:01:00", anonymousId="browser-1", traits={"email": "jane@x.test"}),
            from_klaviyo("s1", "Email Opened", "jane@x.test", "10:00:00"),
        )
        stats = connector.settled()
        attempts = connector.get("/api/messages/s1")["deliveries"][0]["attempts"]
    assert [visitor(one) for one in segment.accepted] == [(None, "browser-1")]
    assert stats["outbox"]["segment"]["delivered"] == 1
    assert attempts[-1]["status"] == "delivered"


def test_the_webhook_wants_its_signature(tmp_path: Path, segment: SegmentStandIn) -> None:
    with running(tmp_path, segment) as connector:
        event = call("i1", "identify", "09:01:00", anonymousId="browser-1", traits={"email": "jane@x.test"})
        assert post_webhook(f"{connector.url}/webhooks/segment", event, "wrong")[0] == 401
        assert post_webhook(f"{connector.url}/webhooks/segment", event, None)[0] == 401
        assert post_webhook(f"{connector.url}/webhooks/segment", event, SHARED_SECRET)[0] == 200
        assert eventually(lambda: connector.get("/api/stats")["messages"]["rejected"] == 2)
        assert connector.settled()["messages"]["received"] == 1
