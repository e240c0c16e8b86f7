"""``answers.check``: what it finds, and that it never tells a secret."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from connector import answers, bulk, counters, inbox, mapping, migrate, operate, queue, resources
from connector.answers import Finding
from connector.keys import Keys
from connector.messages import HOUR, MINUTE, Received
from connector.store import Store, open_store
from connector.tables import doors, facts, heartbeats
from tests import signers
from tests.told import NOW, SETTINGS, call, configured, feed, house, identify, opened, page

ALL_SET = {
    "SEGMENT_WEBHOOK_TOKENS": "second-factor",
    "SOURCE_WRITE_KEYS": "write-key-one, write-key-two",
    "KLAVIYO_WEBHOOK_SECRETS": "klaviyo-secret",
    "CUSTOMERIO_SIGNING_KEYS": "customerio-secret",
}
URL = "sqlite:///unused.db"


SOURCES = mapping.load(resources.shipped_mappings()).sources
PLATFORMS = {name: ", ".join(one.variables) for name, one in SOURCES.items() if name != "segment"}


P256 = signers.SECRETS["sendgrid"]["SENDGRID_PUBLIC_KEYS"].partition(",")[0]


def closed(*platforms: str) -> str:
    named = [f"/webhooks/{one} ({PLATFORMS[one]})" for one in sorted(platforms)]
    return f"set what is in brackets to open {', '.join(named)}"


def found(store: Store | None, **settings: str) -> list[Finding]:
    return answers.check(configured(URL, **settings), store, NOW)


def level_of(findings: list[Finding], words: str) -> str:
    (one,) = [finding for finding in findings if words in finding.what]
    assert (one.level == "ok") or one.do, "a finding that is not ok says what to do"
    return one.level


def start(store: Store, secret: str = SETTINGS["CONNECTOR_SECRET"], alive_at: int = NOW) -> None:
    """What the first start of a process leaves in the store."""
    with store.writing() as tx:
        bulk.insert_rows(tx, heartbeats, ("name", "pid", "seen_at"), [("w", 1, alive_at)])
        bulk.insert_rows(tx, facts, ("name", "value"), [("secret_fingerprint", Keys(secret).fingerprint)])


def test_an_installation_in_order_has_nothing_to_do(store: Store) -> None:
    start(store)
    feed(store, house(**ALL_SET), [page("p1", "10:00:00", "A1")])
    kind = "SQLite" if store.sqlite else "PostgreSQL"
    assert found(store, **ALL_SET) == [
        Finding("ok", f"mappings: {', '.join(sorted([*PLATFORMS, 'segment']))} are read"),
        Finding("ok", "/v1 is open (SOURCE_WRITE_KEYS: 2 set)"),
        Finding("ok", "/webhooks/segment is open (SEGMENT_SHARED_SECRETS: 1 set)"),
        Finding("ok", "/webhooks/customerio is open (CUSTOMERIO_SIGNING_KEYS: 1 set)"),
        Finding("ok", "/webhooks/klaviyo is open (KLAVIYO_WEBHOOK_SECRETS: 1 set)"),
        Finding(
            "off", f"{len(PLATFORMS) - 2} platforms are closed", closed(*(set(PLATFORMS) - {"customerio", "klaviyo"}))
        ),
        Finding("ok", "deliveries leave for https://api.segment.io/v1"),
        Finding("ok", f"the database answers ({kind}) and its tables are current ({migrate.head()})"),
        Finding("ok", "CONNECTOR_SECRET is the one this database was made with"),
        Finding("ok", "a worker is alive"),
        Finding("ok", "0 messages wait to be read"),
        Finding("ok", "segment: the last message came at 2026-09-10T00:00:00.000Z"),
    ]


def test_a_key_that_can_be_none_is_an_error_before_anything_is_refused() -> None:
    findings = found(None, SENDGRID_PUBLIC_KEYS=f"not a key,{P256}", RESEND_WEBHOOK_SECRETS="whsec_MDEyMzQ1,whsec_!")
    assert [one.what for one in findings if one.level == "error"] == [
        "1 member of RESEND_WEBHOOK_SECRETS cannot be what Resend shows as its key",
        "1 member of SENDGRID_PUBLIC_KEYS cannot be what SendGrid shows as its key",
        "there is no database yet",
    ]


def test_a_door_that_lacks_one_of_its_variables_is_a_warning() -> None:
    findings = found(None, MANDRILL_WEBHOOK_KEYS="k")
    assert Finding("warn", "/webhooks/mandrill is closed", "to open it, set MANDRILL_WEBHOOK_URLS") in findings


def test_what_is_not_configured_is_said_with_its_variable() -> None:
    findings = found(None, SEGMENT_WRITE_KEY="", SEGMENT_SHARED_SECRETS="", INSPECTOR_TOKENS="")
    assert [(one.level, one.what, one.do) for one in findings if one.level != "ok"] == [
        ("off", "/v1 is closed", "to open it, set SOURCE_WRITE_KEYS"),
        ("warn", "/webhooks/segment is closed", "to open it, set SEGMENT_SHARED_SECRETS"),
        ("off", f"{len(PLATFORMS)} platforms are closed", closed(*PLATFORMS)),
        ("warn", "the inspector is closed", "to open it, set INSPECTOR_TOKENS"),
        (
            "warn",
            "SEGMENT_WRITE_KEY is not set: deliveries wait as pending, nothing is lost",
            "make an HTTP API source in Segment and set SEGMENT_WRITE_KEY to its write key",
        ),
        ("error", "there is no database yet", "start `connector serve`, or run `connector migrate`"),
    ]


def test_another_secret_than_the_stores_is_an_error(store: Store) -> None:
    start(store, secret="the secret it was made with")
    assert level_of(found(store), "CONNECTOR_SECRET is not the one") == "error"


def test_a_silent_worker_a_backlog_and_dead_letters_are_found(store: Store) -> None:
    start(store, alive_at=NOW - HOUR)
    feed(
        store, house(), [identify("i1", "10:05:00", "A1", email="jane@x.test"), opened("o1", "11:00:00", "jane@x.test")]
    )
    feed(store, house(), [call("bad", "10:00:00", type="track", userId=3)])
    with store.writing() as tx:
        batch = queue.claim(tx, "segment", claimer="w", now=NOW, limit=10, for_ms=MINUTE)
        queue.settle(tx, "segment", [queue.dead(batch, "refused", "400")], claimer="w", now=NOW)
    with store.writing() as tx:
        inbox.store(tx, [Received("segment", "late", "{}", NOW - 2 * MINUTE)])
    findings = found(store)
    assert level_of(findings, "no worker is alive; the last was seen at 2026-09-09T23:00:00.000Z") == "error"
    assert level_of(findings, "1 message waits to be read, the oldest for 120 seconds") == "warn"
    assert level_of(findings, "1 delivery to segment is dead") == "warn"
    assert level_of(findings, "1 message is quarantined") == "warn"


def test_refused_requests_are_told_by_reason_and_warn_until_one_is_accepted(store: Store) -> None:
    with store.writing() as tx:
        counters.add(tx, "rejected.klaviyo.unauthorized", 2)
        counters.add(tx, "rejected.klaviyo.not_json", 1)
        bulk.insert_rows(
            tx,
            doors,
            ("source", "last_at", "refused_at", "refused_because"),
            [("klaviyo", NOW - HOUR, NOW, "the signature does not match")],
        )
    words = "klaviyo: 3 requests were refused (1 not json, 2 unauthorized), the last at 2026-09-10T00:00:00.000Z"
    assert Finding("warn", words, "the last one: the signature does not match") in found(store)
    with store.writing() as tx:
        tx.execute(sa.update(doors).values(last_at=NOW + 1))
    assert Finding("ok", words) in found(store)


def test_what_operators_do_is_no_source(store: Store) -> None:
    start(store)
    feed(store, house(), [operate.retry_quarantined(NOW)])
    assert "operator" not in str(found(store))


def test_unsigned_elements_and_two_channels_of_one_vendor_are_found(store: Store) -> None:
    both = house(KLAVIYO_WEBHOOK_SECRETS="secret")
    own = {
        "topic": "event:klaviyo.opened_email",
        "external_id": "k1",
        "payload": {"data": {"attributes": {"event_properties": {"Recipient Email Address": "jane@x.test"}}}},
    }
    feed(store, both, [opened("o1", "11:00:00", "jane@x.test", authenticated=False)])
    assert "two channels" not in str(found(store))
    feed(store, both, [Received("klaviyo", "k1", json.dumps(own), NOW)])
    findings = found(store)
    assert (
        level_of(findings, "1 of the last 2 messages came in batches of which only the first event is signed") == "warn"
    )
    assert level_of(findings, "Klaviyo comes by two channels") == "warn"


def test_a_store_that_was_never_migrated_or_is_not_there_is_an_error(tmp_path: object) -> None:
    store = open_store(f"sqlite:///{tmp_path}/new.db")
    assert level_of(found(store), f"the tables are at nothing, this version needs {migrate.head()}") == "error"
    store.dispose()
    store = open_store(f"sqlite:///{tmp_path}/there-is-none.db", read_only=True)
    assert level_of(found(store), "the database does not answer") == "error"
    store.dispose()


def test_a_broken_mapping_is_an_error_that_names_the_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("mappings")
    (folder / "identity.toml").write_text("blocked = [")
    assert level_of(found(None, MAPPINGS=str(folder)), "identity.toml") == "error"


def test_no_finding_tells_a_secret_or_an_address(store: Store) -> None:
    start(store)
    feed(
        store,
        house(),
        [opened("o1", "11:00:00", "jane@x.test"), call("jane2@x.test", "10:00:00", type="track", userId=3)],
    )
    words = str(found(store, **ALL_SET))
    told = [*SETTINGS.values(), *ALL_SET.values(), "write-key-one", "the-token", "@x.test"]
    assert [one for one in told if one in words and one not in ("shared", "key")] == []
