"""What a mapping decides about an event: whether it counts, whom it is about, what is kept of it, and what leaves."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from connector import mapped, operate
from connector.messages import Identifier, Outcome, Received
from connector.pipeline import UNWANTED
from connector.resources import shipped_mappings
from connector.store import Store
from connector.tables import inbox, messages, outbox
from tests.streams import NOW, feed, house, identify

JANE = "jane@x.test"

ACME = """
name = "Acme"
secrets = "ACME_SECRETS"
[event]
path = ["type"]
machine_opens = ["prefetched"]
[event.names]
opened = "Email Opened"
prefetched = "Email Opened"
clicked = "Email Link Clicked"
failed = { name = "Email Bounced", when = { "how" = ["permanent", "hard"], "final" = true } }
[[event.names.changed]]
name = "Unsubscribed"
when = { "to" = "out" }
[[event.names.changed]]
name = "Email Marked as Spam"
when = { "to" = "spam" }
[identifiers]
recipient = ["to_address"]
ambiguous = { "@x-several" = ["to_address", "cc"] }
[fields]
"properties.machine_open" = { "@x-flag" = ["bot"] }
"properties.machine_click" = { "@x-flag" = ["bot"] }
"properties.broken" = { "@if" = { exists = false, then = 1 } }
"""
SOUND = ACME.replace('"properties.broken" = { "@if" = { exists = false, then = 1 } }\n', "")
HOUSE = house((), (), (("sources/acme.toml", SOUND),))


def sent(message_id: str, **payload: Any) -> Received:
    return Received("acme", message_id, orjson.dumps({"to_address": JANE, **payload}).decode(), NOW)


def decided(store: Store) -> dict[str, tuple[str | None, str, str]]:
    with store.reading() as tx:
        rows = tx.execute(sa.select(messages).where(messages.c.source == "acme"))
        return {row.message_id: (row.event, row.outcome, row.reason) for row in rows}


def left(store: Store) -> list[dict[str, Any]]:
    with store.reading() as tx:
        return [orjson.loads(body) for body in tx.scalars(sa.select(outbox.c.body).order_by(outbox.c.inbox_id))]


def test_a_word_counts_where_all_its_conditions_hold(sqlite_store: Store) -> None:
    cases: dict[str, dict[str, Any]] = {
        "1": {"how": "hard", "final": True},
        "2": {"how": "hard", "final": "true"},  # as text, as some platforms write it
        "3": {"how": "soft", "final": True},
        "4": {"how": "hard"},
        "5": {"how": ["hard"], "final": None},
    }
    feed(sqlite_store, *(sent(key, type="failed", **more) for key, more in cases.items()), house=HOUSE)
    unmet = mapped.CONDITION.format("how is permanent or hard and final is true")
    assert {key: (event, reason) for key, (event, _, reason) in decided(sqlite_store).items() if reason == unmet} == {
        "3": ("failed", unmet),
        "4": ("failed", unmet),
        "5": ("failed", unmet),
    }
    assert [one["event"] for one in left(sqlite_store)] == ["Email Bounced", "Email Bounced"]


def test_one_word_may_stand_for_several_names(sqlite_store: Store) -> None:
    feed(sqlite_store, *(sent(to, type="changed", to=to) for to in ("out", "spam", "in")), house=HOUSE)
    assert [(key, event) for key, (event, _, _) in decided(sqlite_store).items()] == [
        ("out", "Unsubscribed"),
        ("spam", "Email Marked as Spam"),
        ("in", "changed"),
    ]


@pytest.mark.parametrize(
    ("payload", "flags"),
    [
        ({"type": "opened", "bot": "Apple"}, {"machine_open": True}),
        ({"type": "opened", "bot": False}, {"machine_open": False}),
        ({"type": "opened"}, {}),
        ({"type": "prefetched"}, {"machine_open": True}),
        ({"type": "prefetched", "bot": False}, {"machine_open": True}),
        ({"type": "clicked", "bot": ["user_agent"]}, {"machine_click": True}),
        ({"type": "clicked", "bot": []}, {}),
        ({"type": "changed", "to": "out", "bot": True}, {}),
    ],
)
def test_a_machine_flag_is_kept_on_its_own_event(
    sqlite_store: Store, payload: dict[str, Any], flags: dict[str, bool]
) -> None:
    feed(sqlite_store, sent("1", **payload), house=HOUSE)
    assert [one["properties"] for one in left(sqlite_store)] == [flags]


def test_an_event_that_may_be_about_several_addressees_is_nobodys(store: Store) -> None:
    events = [sent(word, type=word, cc=["joe@x.test"]) for word in ("opened", "queued")]
    feed(store, identify(0, "B1", email=JANE), *events, house=HOUSE)
    assert decided(store) == {
        "opened": ("Email Opened", Outcome.IGNORED, mapped.SEVERAL),
        "queued": ("queued", Outcome.IGNORED, mapped.SEVERAL),
    }
    assert left(store) == []
    with store.reading() as tx:
        assert set(tx.scalars(sa.select(messages.c.identifiers).where(messages.c.source == "acme"))) == {"[]"}


def test_forgetting_finds_an_address_in_what_names_nobody(store: Store) -> None:
    events = [sent("1", type="opened", cc=["joe@x.test"]), sent("2", type="listed", to_address=["a@x.test", JANE])]
    other = sent("3", type="listed", to_address=["a@x.test"])
    feed(store, identify(0, "B1", email=JANE), *events, other, house=HOUSE)
    feed(store, operate.forget(NOW, Identifier("email", JANE), reason="asked by letter"), house=HOUSE)
    with store.reading() as tx:
        rows = tx.execute(sa.select(inbox.c.message_id, inbox.c.body).where(inbox.c.source == "acme"))
        assert {row.message_id: bool(row.body) for row in rows} == {"1": False, "2": False, "3": True}
    assert {key: outcome for key, (_, outcome, _) in decided(store).items()} == {
        "1": Outcome.FORGOTTEN,
        "2": Outcome.FORGOTTEN,
        "3": Outcome.IGNORED,
    }


def test_a_word_that_stands_for_nothing_may_say_why(sqlite_store: Store) -> None:
    told = SOUND.replace("[identifiers]", '[event.because]\npaused = "the campaign was paused"\n[identifiers]')
    feed(sqlite_store, sent("1", type="paused"), house=house((), (), (("sources/acme.toml", told),)))
    assert decided(sqlite_store) == {"1": ("paused", Outcome.IGNORED, "the campaign was paused")}


def test_forgotten_years_and_deep_names_are_no_defect_of_ours(sqlite_store: Store) -> None:
    told = SOUND.replace("[fields]", '[fields]\ntimestamp = { "@x-time" = { value = ["at"], unit = "text" } }')
    where = (("sources/acme.toml", told),)
    times = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1_700_000_000", "\u0661\u0667"]
    events = [sent(str(n), type="opened", at=at) for n, at in enumerate(times)]
    site = {"type": "page", "anonymousId": "B1", "messageId": "p", "timestamp": times[1]}
    page = Received("segment", "p", orjson.dumps(site).decode(), NOW)
    feed(sqlite_store, page, *events, house=house((), (), where))
    assert [outcome for _, outcome, _ in decided(sqlite_store).values()] == [Outcome.HELD] * 4


def test_a_mapping_that_fails_for_an_event_quarantines_it(sqlite_store: Store) -> None:
    feed(sqlite_store, sent("1", type="opened"), house=house((), (), (("sources/acme.toml", ACME),)))
    event, outcome, reason = decided(sqlite_store)["1"]
    assert (event, outcome) == (None, Outcome.QUARANTINED)
    assert 'sources/acme.toml: [fields] "properties.broken"' in reason


def test_what_the_destination_does_not_subscribe_to_does_not_leave(store: Store) -> None:
    """Neither at once nor later, and it does not count."""
    destination = (shipped_mappings() / "destinations/segment.toml").read_text()
    files = {
        "sources/acme.toml": SOUND,
        "destinations/segment.toml": f"subscribe = 'properties.machine_open = null'\n{destination}",
    }
    subscribed = house((), (), tuple(files.items()))
    events = [sent("1", type="opened", bot=True), sent("2", type="opened"), sent("3", type="clicked", bot=True)]
    feed(store, *events, house=subscribed)
    feed(store, identify(0, "B1", email=JANE), house=subscribed)
    assert decided(store)["1"] == ("Email Opened", Outcome.IGNORED, UNWANTED)
    assert [(one["event"], one["properties"]) for one in left(store)] == [
        ("Email Opened", {"stitched_late": True}),
        ("Email Link Clicked", {"machine_click": True, "stitched_late": True}),
    ]
