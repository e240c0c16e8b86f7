"""Reading Klaviyo's events from its API, against a stand-in that keeps the contract."""

from __future__ import annotations

import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from connector import answers, bulk, inbox, leases, worker
from connector.config import Config
from connector.demo.klaviyo_standin import Event, KlaviyoStandIn, Profile, answer, reset
from connector.demo.klaviyo_standin.mail import element
from connector.errors import ConnectorError
from connector.house import House
from connector.klaviyo import poll, readings
from connector.klaviyo.api import Client, Patience, Refused, Tier, Unanswered
from connector.klaviyo.poll import LEASE, Poller
from connector.klaviyo.polled import FACT, FORBIDDEN, Polled, Step
from connector.messages import DAY, HOUR, MINUTE, SECOND, Milliseconds, iso
from connector.sources import Incoming, declared
from connector.store import Store
from connector.tables import facts, inbox_todo, messages, outbox
from connector.tables import inbox as inbox_table
from tests import told

NOW: Milliseconds = told.NOW
QUICK = Patience(tries=3, first_wait_seconds=0.01)
BEFORE = "from before the connector polled Klaviyo: evidence only"


@dataclass
class Clock:
    """Klaviyo's and ours, which stands still; ours may be off."""

    now: Milliseconds = NOW
    off: Milliseconds = 0

    def klaviyo(self) -> Milliseconds:
        return self.now

    def ours(self) -> Milliseconds:
        return self.now + self.off


class Stop(threading.Event):
    """Ends a loop at its first wait and remembers how long it would have been."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout)
        self.set()
        return True


@dataclass
class Shop:
    """An account of Klaviyo's, a store, and what reads the one into the other."""

    account: KlaviyoStandIn
    store: Store
    clock: Clock
    config: Config = field(init=False)
    house: House = field(init=False)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settle_on()

    def settle_on(self, **settings: str) -> None:
        """The settings of the connector."""
        known = {"KLAVIYO_API_KEY": "pk_stand_in", "KLAVIYO_API_URL": self.account.url, "KLAVIYO_WEBHOOK_SECRETS": "s"}
        self.config = told.configured(**{**known, **settings})
        self.house = told.house(**{**known, **settings})

    def poller(self, holder: str = "one", progress: Callable[[Step], None] | None = None, **poll: Any) -> Poller:
        """A new one, as a process that starts has it. Args: poll changes [poll]."""
        source = self.house.mappings.sources["klaviyo"]
        assert source.poll is not None
        changed = replace(source, poll=replace(source.poll, **poll))
        mappings = replace(self.house.mappings, sources={**self.house.mappings.sources, "klaviyo": changed})
        client = Client(self.config, patience=QUICK)
        now = self.clock.ours
        return Poller(
            self.config, self.store, mappings, client, now=now, holder=holder, progress=progress or self.steps.append
        )

    def polls(self, poller: Poller | None = None) -> Polled:
        """Rounds until nothing is left."""
        poller = poller or self.poller()
        total = Polled()
        while True:
            some = poller.poll_once(threading.Event())
            total = replace(total, more=False) + some
            if not some.more:
                return total

    def stitches(self) -> None:
        while worker.stitch_once(self.store, self.house, self.clock.ours()):
            pass

    def mails(self, to: str | Profile, metric: str = "Opened Email", ago: Milliseconds = 0, **more: Any) -> Event:
        return self.account.mail(to, metric, self.clock.now - ago, **more)

    def delivers(self, *events: Event) -> inbox.Kept:
        """Klaviyo's webhook brings these."""
        topics = [f"event:klaviyo.{one.metric.name.lower().replace(' ', '_')}" for one in events if one.metric]
        body = {
            "data": [element(*pair) for pair in zip(topics, events, strict=True)],
            "meta": {"version": "2026-07-15"},
        }
        request = Incoming("POST", "/webhooks/klaviyo", {}, orjson.dumps(body))
        received = declared.taken(self.house.mappings.sources["klaviyo"], request, self.clock.ours())
        with self.store.writing() as tx:
            return inbox.store(tx, received)

    # -- what is known then -------------------------------------------------------------------------------------------

    def read(self) -> list[str]:
        """The ids of the events in the inbox, in their order there."""
        with self.store.reading() as tx:
            found = tx.scalars(sa.select(inbox_table.c.message_id).order_by(inbox_table.c.id)).all()
        return [one for one in found if not one.startswith("profile-")]

    def records(self) -> list[dict[str, Any]]:
        """The payloads of the profiles' records."""
        with self.store.reading() as tx:
            chosen = sa.select(inbox_table.c.body).where(inbox_table.c.message_id.startswith("profile-"))
            return [orjson.loads(one)["payload"] for one in tx.scalars(chosen.order_by(inbox_table.c.id))]

    def outcomes(self) -> dict[str, tuple[str, str]]:
        """Outcome and reason of each event."""
        with self.store.reading() as tx:
            found = tx.execute(sa.select(messages.c.message_id, messages.c.outcome, messages.c.reason))
            return {one: (outcome, reason) for one, outcome, reason in found if not one.startswith("profile-")}

    def leaves(self) -> list[dict[str, Any]]:
        with self.store.reading() as tx:
            return [orjson.loads(one) for one in tx.scalars(sa.select(outbox.c.body).order_by(outbox.c.id))]

    def rows(self) -> dict[str, readings.Metric]:
        with self.store.reading() as tx:
            return {one.name: one for one in readings.load(tx, "klaviyo").values()}

    def said(self) -> dict[str, Any]:
        with self.store.reading() as tx:
            text = tx.execute(sa.select(facts.c.value).where(facts.c.name == FACT)).scalar_one()
        found: dict[str, Any] = orjson.loads(text)
        return found

    def stats(self) -> dict[str, Any]:
        with self.store.reading() as tx:
            return answers.stats(tx)

    def person(self, email: str) -> set[tuple[str, str]]:
        """Everything that is the person with this address."""
        with self.store.reading() as tx:
            found = answers.profile(tx, self.house, "email", email)
        return {(one["type"], one["value"]) for one in found["identifiers"]} if found else set()

    def asked(self) -> int:
        """How many pages of events were asked for."""
        return sum(one.path.startswith("/api/events?") for one in self.account.requests)


@pytest.fixture
def account() -> Iterator[KlaviyoStandIn]:
    clock = Clock()
    with KlaviyoStandIn(limits=False, later_ms=0, clock=clock.klaviyo) as stand_in:
        stand_in.clock = clock  # type: ignore[attr-defined] # so that the shop has the same
        yield stand_in


@pytest.fixture
def shop(account: KlaviyoStandIn, store: Store) -> Shop:
    return Shop(account, store, account.clock)  # type: ignore[attr-defined] # set above


@pytest.fixture
def small(account: KlaviyoStandIn, sqlite_store: Store) -> Shop:
    """On SQLite only: for what does not depend on the database."""
    return Shop(account, sqlite_store, account.clock)  # type: ignore[attr-defined] # set above


def began(shop: Shop, metric: str = "Opened Email") -> Event:
    """The connector polls since a day, and Klaviyo had one event."""
    event = shop.mails("joe@x.test", metric)
    shop.polls()
    shop.clock.now += DAY // 2
    shop.polls()
    return event


# -- what is read -------------------------------------------------------------------------------------------------


def test_an_event_that_klaviyo_has_reaches_its_visitor(shop: Shop) -> None:
    shop.polls()
    visit = told.identify("m1", iso(NOW - HOUR), "browser", email="jane@x.test")
    told.feed(shop.store, shop.house, [visit], NOW)
    shop.clock.now += MINUTE
    event = shop.mails("jane@x.test")
    shop.clock.now += MINUTE
    assert shop.polls() == Polled(metrics=1, pages=2, events=2, stored=2)  # new, and in the history of a new metric
    shop.stitches()
    assert [(one["event"], one["anonymousId"], one["timestamp"]) for one in shop.leaves()] == [
        ("Email Opened", "browser", iso(NOW + MINUTE))
    ]
    assert shop.outcomes()[event.id][0] == "stitched"


def test_what_is_read_again_is_neither_stored_nor_counted_again(shop: Shop) -> None:
    event = began(shop)
    assert shop.polls() == Polled(metrics=1, pages=1, events=1, stored=0)
    shop.stitches()
    counted = shop.stats()["messages"]
    assert (shop.read(), counted["duplicates"], counted["conflicting_duplicates"]) == ([event.id], 0, 0)


def test_metrics_that_somebody_else_calls_like_klaviyos_are_not_read(small: Shop) -> None:
    own = small.mails("jane@x.test")
    small.mails("jane@x.test", service="api")
    small.mails("jane@x.test", "Placed Order")
    assert small.polls().metrics == 1
    assert small.read() == [own.id]


def test_a_filter_that_klaviyo_does_not_honour_lets_no_other_metric_in(small: Shop) -> None:
    own, other = small.mails("jane@x.test"), small.mails("jane@x.test", service="api")
    assert own.metric is not None
    assert other.metric is not None
    listed = [
        {"type": "metric", "id": one.id, "attributes": {"name": one.name, "integration": one.integration}}
        for one in (own.metric, other.metric)
    ]
    small.account.script(answer(200, body=orjson.dumps({"data": listed, "links": {}})), path="/api/metrics")
    assert small.polls().metrics == 1
    assert small.read() == [own.id]


def test_both_names_of_an_unsubscription_are_read(small: Shop) -> None:
    events = [
        small.mails(f"{n}@x.test", name) for n, name in enumerate(("Unsubscribed", "Unsubscribed from Email Marketing"))
    ]
    assert small.polls().metrics == 2
    assert sorted(small.read()) == sorted(one.id for one in events)


def test_a_metric_that_appears_later_is_read_from_then_on_and_counts(small: Shop) -> None:
    began(small)
    poller = small.poller()
    small.polls(poller)
    bounce = small.mails("jane@x.test", "Bounced Email", ago=MINUTE)
    small.polls(poller)
    assert bounce.id not in small.read()
    small.clock.now += HOUR
    small.polls(poller)
    small.stitches()
    assert small.outcomes()[bounce.id][0] == "held"


def test_a_record_of_each_profile_is_evidence_once_for_as_long_as_it_says_the_same(shop: Shop) -> None:
    joe = shop.mails("joe@x.test").profile
    assert joe is not None
    joe.external_id, joe.phone_number = "u1", "+15005550006"
    shop.mails(joe, "Clicked Email")
    shop.polls()
    shop.clock.now += HOUR
    shop.mails(joe)
    shop.polls()
    joe.email = "joseph@x.test"
    shop.clock.now += HOUR
    shop.mails(joe)
    shop.polls()
    shop.stitches()
    told_of = [one["data"]["attributes"]["email"] for one in shop.records()]
    assert told_of == ["joe@x.test", "joseph@x.test"]
    assert shop.person("joe@x.test") == {
        ("email", "joe@x.test"),
        ("email", "joseph@x.test"),
        ("phone", "+15005550006"),
        ("klaviyo_profile_id", joe.id),
        ("klaviyo_user_id", "u1"),
    }


def test_a_record_says_in_the_log_what_it_is(small: Shop) -> None:
    small.mails("jane@x.test")
    small.polls()
    small.stitches()
    with small.store.reading() as tx:
        chosen = sa.select(messages.c.outcome, messages.c.reason).where(messages.c.event == "profile")
        assert tx.execute(chosen).all() == [("ignored", "a profile as Klaviyo's API knows it")]


def test_the_address_that_was_mailed_comes_before_the_profiles_own(small: Shop) -> None:
    small.polls()
    jane = small.mails("jane@x.test", ago=-SECOND).profile
    assert jane is not None
    second = small.mails(jane, ago=-2 * SECOND, properties={"Recipient Email Address": "j.doe@x.test"})
    third = small.mails(jane, ago=-3 * SECOND, properties={"Recipient Email Address": None})
    small.clock.now += MINUTE
    small.polls()
    small.stitches()
    with small.store.reading() as tx:
        found = tx.exec_driver_sql(
            "select message_id, value from messages join identifiers on identifiers.id = recipient_id"
        ).all()
    assert {one: value for one, value in found if one in (second.id, third.id)} == {
        second.id: "j.doe@x.test",
        third.id: "jane@x.test",
    }
    assert {value for kind, value in small.person("jane@x.test") if kind == "email"} == {"jane@x.test", "j.doe@x.test"}


# -- time ---------------------------------------------------------------------------------------------------------


def test_a_time_in_the_future_does_not_run_away_with_the_reading(shop: Shop) -> None:
    began(shop)
    future = shop.mails("jane@x.test", ago=-18 * HOUR)
    shop.polls()
    assert shop.rows()["Opened Email"].watermark == NOW
    later = [shop.mails(f"{n}@x.test") for n in range(3)]
    shop.clock.now += MINUTE
    shop.polls()
    assert set(shop.read()[1:]) == {future.id, *(one.id for one in later)}
    assert shop.rows()["Opened Email"].watermark == shop.clock.now - MINUTE


def test_what_comes_minutes_late_is_read_in_the_next_round(small: Shop) -> None:
    began(small)
    late = small.mails("jane@x.test", ago=9 * MINUTE, late_ms=MINUTE)
    newest = small.mails("jim@x.test")
    small.polls()
    small.clock.now += MINUTE
    small.polls()
    assert small.read()[1:] == [newest.id, late.id]


def test_what_comes_days_late_is_found_once_a_day(shop: Shop) -> None:
    began(shop)
    late = shop.mails("jane@x.test", ago=HOUR, late_ms=HOUR)
    newest = shop.mails("jim@x.test")
    shop.polls()
    shop.clock.now += 2 * HOUR
    shop.polls()
    assert shop.read()[1:] == [newest.id]
    shop.clock.now += DAY // 2
    shop.polls()
    shop.stitches()
    assert shop.read()[1:] == [newest.id, late.id]
    assert shop.outcomes()[late.id][0] == "held"
    before = shop.asked()
    shop.polls()
    assert shop.asked() == before + 1, "the day's look is over"


@pytest.mark.parametrize("off", [DAY, -DAY])
def test_events_are_read_and_count_though_our_clock_is_off_for_a_while(small: Shop, off: Milliseconds) -> None:
    small.clock.off = off
    small.mails("joe@x.test", ago=HOUR)
    small.polls()
    small.clock.now += HOUR
    while_off = small.mails("jane@x.test")
    small.polls()
    small.clock.off = 0
    small.clock.now += HOUR
    after = small.mails("jim@x.test")
    small.polls()
    small.stitches()
    assert set(small.read()[1:]) == {while_off.id, after.id}
    assert small.outcomes()[after.id][0] == "held"
    assert small.rows()["Opened Email"].watermark <= max(small.clock.now, small.clock.now + off)


# -- history --------------------------------------------------------------------------------------------------------


def test_what_happened_before_is_evidence_only(shop: Shop) -> None:
    old = shop.mails("jane@x.test", ago=10 * DAY)
    older = shop.mails("jane@x.test", ago=31 * DAY)
    shop.polls()
    shop.clock.now += MINUTE
    new = shop.mails("jane@x.test")
    shop.polls()
    shop.stitches()
    assert older.id not in shop.read()
    assert (shop.outcomes()[old.id], shop.outcomes()[new.id][0]) == (("ignored", BEFORE), "held")
    assert ("klaviyo_profile_id", old.profile.id if old.profile else "") in shop.person("jane@x.test")


def test_history_counts_where_the_mapping_says_so(small: Shop) -> None:
    old = small.mails("jane@x.test", ago=10 * DAY)
    small.polls(small.poller(history_counts=True))
    small.stitches()
    assert small.outcomes()[old.id][0] == "held"


def test_no_history_is_read_where_the_mapping_says_so(small: Shop) -> None:
    small.mails("jane@x.test", ago=DAY)
    small.polls(small.poller(history_ms=0))
    small.clock.now += DAY
    small.polls(small.poller(history_ms=0))
    assert small.read() == []


def test_what_a_webhook_missed_counts_when_polling_begins_later(small: Shop) -> None:
    brought = small.mails("jane@x.test")
    assert small.delivers(brought) == inbox.Kept(1)
    small.clock.now += HOUR
    missed = small.mails("jane@x.test")
    small.clock.now += 3 * DAY
    small.polls()
    small.stitches()
    assert {one: outcome for one, (outcome, _) in small.outcomes().items()} == {brought.id: "held", missed.id: "held"}


def test_what_happened_while_everything_was_down_is_read_afterwards(small: Shop) -> None:
    began(small)
    missed = [small.mails(f"{n}@x.test", ago=-n * DAY) for n in range(1, 20)]
    small.clock.now += 20 * DAY
    small.polls()
    small.stitches()
    assert small.read()[1:] == [one.id for one in missed]
    assert {small.outcomes()[one.id][0] for one in missed} == {"held"}


# -- both channels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["poll", "webhook"])
def test_an_event_by_poll_webhook_and_segments_own_source_counts_once(shop: Shop, first: str) -> None:
    shop.polls()
    shop.clock.now += MINUTE
    event = shop.mails("jane@x.test")
    copy = told.opened("s1", iso(shop.clock.now), "jane@x.test")
    if first == "webhook":
        shop.delivers(event)
    shop.clock.now += MINUTE
    told.feed(shop.store, shop.house, [copy], shop.clock.now)
    shop.polls()
    shop.stitches()
    assert shop.delivers(event) == inbox.Kept(0, 1, 0)
    shop.polls()
    shop.stitches()
    assert shop.stats()["email_events"]["total"] == 1
    assert shop.stats()["messages"]["conflicting_duplicates"] == 0
    assert {one: outcome for one, (outcome, _) in shop.outcomes().items()} == {event.id: "held", "s1": "ignored"}


def test_the_key_alone_makes_klaviyos_own_channel_count(small: Shop) -> None:
    small.settle_on(KLAVIYO_WEBHOOK_SECRETS="")
    small.polls()
    told.feed(small.store, small.house, [told.opened("s1", iso(NOW), "jane@x.test")], NOW)
    assert small.outcomes()["s1"][0] == "ignored"


def test_a_webhooks_event_says_the_same_when_it_has_links_and_another_form_of_time(small: Shop) -> None:
    event = small.mails("jane@x.test")
    small.polls()
    body = element("event:klaviyo.opened_email", event)
    data = body["payload"]["data"]
    data["links"] = {"self": f"https://a.klaviyo.com/api/events/{event.id}/"}
    data["attributes"]["datetime"] = data["attributes"]["datetime"].replace(" ", "T")
    data["relationships"]["profile"]["links"] = {"related": "https://a.klaviyo.com/…"}
    request = Incoming("POST", "/webhooks/klaviyo", {}, orjson.dumps({"data": [body], "meta": {}}))
    received = declared.taken(small.house.mappings.sources["klaviyo"], request, NOW)
    with small.store.writing() as tx:
        assert inbox.store(tx, received) == inbox.Kept(0, 1, 0)


def test_profiles_that_klaviyo_merges_are_one_person_here(shop: Shop) -> None:
    gone, left = shop.mails("jane@x.test").profile, shop.mails("j.doe@x.test").profile
    assert gone is not None
    assert left is not None
    shop.polls()
    shop.stitches()
    assert ("email", "j.doe@x.test") not in shop.person("jane@x.test")
    merge = {
        "data": {
            "type": "profile-merge",
            "id": left.id,
            "relationships": {"profiles": {"data": [{"type": "profile", "id": gone.id}]}},
        }
    }
    Client(shop.config).send("POST", "/api/profile-merge", merge, tier=Tier.MERGE)
    shop.account.settle()
    shop.clock.now += DAY
    assert shop.polls().stored == 2  # a record that the one went into the other, and Klaviyo's own event
    shop.clock.now += DAY
    assert shop.polls().stored == 0
    shop.stitches()
    assert shop.stats()["messages"]["duplicates"] == 0
    assert shop.person("jane@x.test") == {
        ("email", "jane@x.test"),
        ("email", "j.doe@x.test"),
        ("klaviyo_profile_id", gone.id),
        ("klaviyo_profile_id", left.id),
    }


# -- crashes, others, and refusals ----------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def months(shop: Shop, n: int) -> list[str]:
    """n old events, several a second; their ids in Klaviyo's order."""
    found = [shop.mails(f"{k % 50}@x.test", ago=20 * DAY - k * 100) for k in range(n)]
    return [one.id for one in sorted(found, key=lambda one: one.place)]


@contextmanager
def refused(store: Store, table: str) -> Iterator[None]:
    """The database takes no row into this table."""
    end = f"drop trigger refused on {table}"
    with store.writing() as tx:
        if store.sqlite:
            end = "drop trigger refused"
            body = "begin select raise(abort, 'refused'); end"
        else:
            body = "execute function refuse()"
            raising = "begin raise exception 'refused'; end"
            tx.exec_driver_sql(f"create function refuse() returns trigger language plpgsql as $$ {raising} $$")
        each = "" if store.sqlite else "for each row "
        tx.exec_driver_sql(f"create trigger refused before insert on {table} {each}{body}")
    yield
    with store.writing() as tx:
        tx.exec_driver_sql(end)


def test_a_first_reading_goes_on_where_it_was_killed(shop: Shop) -> None:
    ids = months(shop, 3_500)

    def dies(step: Step) -> None:
        shop.steps.append(step)
        if step.what == "history" and len(shop.steps) % 3 == 0:
            raise Killed

    for life in range(4):
        shop.clock.now += 10 * MINUTE  # by then nobody counts on the lease of the one before
        try:
            shop.polls(shop.poller(f"life {life}", progress=dies))
        except Killed:
            continue
        break
    assert sorted(shop.read()) == sorted(ids)
    assert sum(one.events for one in shop.steps if one.what == "history") == 3_500, "no page twice"
    assert shop.rows()["Opened Email"].past is None


def test_a_page_and_how_far_the_reading_is_are_stored_together_or_not_at_all(shop: Shop) -> None:
    event = shop.mails("jane@x.test", ago=MINUTE)
    with refused(shop.store, "polls"), pytest.raises(sa.exc.DBAPIError):
        shop.polls()
    assert (shop.asked(), shop.read(), shop.records(), shop.rows()) == (1, [], [], {})
    shop.polls()
    assert shop.read() == [event.id]


def test_one_process_reads_and_the_other_takes_over_when_it_is_gone(shop: Shop) -> None:
    event = shop.mails("jane@x.test")
    one, other = shop.poller("one"), shop.poller("other")
    shop.polls(one)
    assert shop.polls(other) == Polled(idle=True)
    shop.clock.now += 5 * MINUTE
    assert shop.polls(other) == Polled(idle=True)
    shop.clock.now += 2 * MINUTE
    assert shop.polls(other) == Polled(metrics=1, pages=1, events=1)
    assert shop.polls(one) == Polled(idle=True)
    other.leave()
    assert shop.polls(one).metrics == 1
    assert shop.read() == [event.id]


def test_whoever_lost_the_lease_meanwhile_stores_nothing(shop: Shop) -> None:
    ids = months(shop, 2_500)
    other = shop.poller("other")

    def is_slow(_step: Step) -> None:
        if len(shop.read()) == 1_000:
            shop.clock.now += HOUR
            with shop.store.writing() as tx:
                leases.take(tx, LEASE, "other", shop.clock.now, MINUTE)

    assert shop.polls(shop.poller("one", progress=is_slow)).idle
    assert set(shop.read()) == set(ids[:1_000])
    shop.polls(other)
    assert sorted(shop.read()) == sorted(ids)


def test_a_place_that_klaviyo_does_not_know_any_more_costs_nothing(shop: Shop) -> None:
    ids = months(shop, 3_000)
    poller = shop.poller()

    def forgets(step: Step) -> None:
        if step.what == "history" and len(shop.read()) == 1_000:
            shop.account.script(answer(400), path="/api/events")

    poller.progress = forgets
    assert shop.polls(poller).later
    assert sorted(shop.read()) == sorted(ids)


def test_a_question_that_klaviyo_refuses_is_no_lost_place(small: Shop) -> None:
    small.mails("jane@x.test")
    small.account.script(answer(400), path="/api/events")
    with pytest.raises(Refused, match="HTTP 400"):
        small.polls()


def test_throttling_failures_and_broken_connections_are_sat_out(small: Shop) -> None:
    event = small.mails("jane@x.test")
    small.account.script(answer(429, retry_after=0), answer(503), path="/api/metrics")
    small.account.script(reset(), answer(429, retry_after=0), path="/api/events")
    small.polls()
    assert small.read() == [event.id]


def test_a_page_that_klaviyo_cannot_make_in_time_is_asked_for_in_small_ones(small: Shop) -> None:
    ids = months(small, 1_500)

    def is_slow(step: Step) -> None:
        small.steps.append(step)
        if step.events == 1_000:
            small.account.script(*[answer(504)] * QUICK.tries, path="/api/events")

    poller = small.poller(progress=is_slow)
    with pytest.raises(Unanswered):
        small.polls(poller)
    small.polls(poller)
    assert sorted(small.read()) == sorted(ids)
    sizes = [one.events for one in small.steps if one.what == "history"]
    assert (sizes[0], set(sizes[1:-1]), sum(one.stored for one in small.steps)) == (1_000, {100}, 1_550)


def test_a_key_that_may_not_read_is_explained_and_tried_again_after_an_hour(small: Shop) -> None:
    small.account.scopes["pk_stand_in"] -= {"events:read"}
    small.mails("jane@x.test")
    stop = Stop()
    small.poller().run(stop)
    assert (stop.waited, small.said()) == ([3600.0], {"at": NOW, "ok": False, "said": FORBIDDEN})
    small.account.scopes["pk_stand_in"] |= {"events:read"}
    stop = Stop()
    small.poller().run(stop)
    assert stop.waited == [60.0]
    assert small.said() == {"at": NOW, "ok": True, "said": "1 metrics, 1 events read, 2 new messages"}


def test_a_wrong_key_is_explained(small: Shop) -> None:
    small.settle_on(KLAVIYO_API_KEY="pk_wrong")
    stop = Stop()
    small.poller().run(stop)
    assert stop.waited == [3600.0]
    assert small.said()["said"].startswith("Klaviyo does not know this key")


def test_a_403_of_somebody_in_between_is_no_fault_of_the_key(small: Shop) -> None:
    small.account.script(answer(403, body=b"<html>blocked</html>"))
    stop = Stop()
    small.poller().run(stop)
    assert stop.waited == [60.0]
    assert small.said()["said"].startswith("Klaviyo answered HTTP 403")


def test_a_klaviyo_that_does_not_answer_is_tried_again_a_minute_later(
    small: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    small.account.script(*[answer(503)] * 3)
    stop = Stop()
    small.poller().run(stop)
    assert (stop.waited, small.said()["ok"]) == ([60.0], False)
    assert [one.getMessage() for one in caplog.records] == ["Klaviyo was not read"]


def test_an_account_without_any_mail_is_in_order(small: Shop) -> None:
    stop = Stop()
    small.poller().run(stop)
    assert small.said()["said"].startswith("Klaviyo has none of the email metrics yet")


def test_a_loop_that_ends_lets_somebody_else_read_at_once(small: Shop) -> None:
    small.poller("one").run(Stop())
    assert not small.polls(small.poller("other")).idle


# -- much -------------------------------------------------------------------------------------------------------------


def test_history_waits_where_the_sites_own_messages_do(small: Shop) -> None:
    old = small.mails("jane@x.test", ago=DAY)
    new = small.mails("jim@x.test", ago=MINUTE)
    with small.store.writing() as tx:
        bulk.insert_rows(tx, inbox_todo, ("inbox_id",), [(10_000_000 + n,) for n in range(poll.CROWDED)])
    some = small.poller().poll_once(threading.Event())
    assert (some.more, some.later, small.read()) == (True, True, [new.id])
    with small.store.writing() as tx:
        tx.execute(sa.delete(inbox_todo).where(inbox_todo.c.inbox_id >= 10_000_000))
    small.polls()
    assert small.read() == [new.id, old.id]


def test_what_is_new_does_not_wait_for_history(small: Shop) -> None:
    months(small, 12_000)
    new = small.mails("jane@x.test", "Clicked Email")
    some = small.poller().poll_once(threading.Event())
    assert (some.more, new.id in small.read()) == (True, True)
    assert [(one.metric, one.what) for one in small.steps] == [
        ("Opened Email", "new"),
        ("Clicked Email", "new"),
        *[("Opened Email", "history")] * poll.SLICE,
        ("Clicked Email", "history"),
    ]


@pytest.mark.slow
def test_twenty_thousand_events_are_read_page_by_page(small: Shop) -> None:
    ids = months(small, 20_000)
    peaks: list[int] = []

    def measures(step: Step) -> None:
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()

    tracemalloc.start()
    try:
        assert small.polls(small.poller(progress=measures)).events == 20_000
    finally:
        tracemalloc.stop()
    assert small.read() == ids
    pages = peaks[2:-1]
    assert max(pages) < 1.5 * sorted(pages)[len(pages) // 2]


# -- in the foreground ------------------------------------------------------------------------------------------------


def test_everything_is_read_in_the_foreground_with_progress(shop: Shop) -> None:
    ids = months(shop, 2_500)
    done = poll.sync(shop.poller(), threading.Event(), shop.stitches)
    assert (done.events, done.more, set(shop.outcomes())) == (2_500, False, set(ids))
    shares = [one.share for one in shop.steps if one.what == "history"]
    assert (shares == sorted(shares), shares[-1]) == (True, 1.0)
    assert Counter(one.what for one in shop.steps) == {"new": 1, "history": 3}
    assert not shop.polls(shop.poller("other")).idle


def test_who_reads_in_the_foreground_hears_that_another_does_already(small: Shop) -> None:
    small.polls(small.poller("other"))
    with pytest.raises(ConnectorError, match="another process reads Klaviyo already"):
        poll.sync(small.poller("one"), threading.Event(), small.stitches)


def test_who_reads_in_the_foreground_hears_what_the_key_lacks(small: Shop) -> None:
    small.account.scopes["pk_stand_in"] -= {"metrics:read"}
    with pytest.raises(ConnectorError) as error:
        poll.sync(small.poller(), threading.Event(), small.stitches)
    assert str(error.value) == FORBIDDEN


def test_no_address_leaves_for_the_log(small: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    small.mails("jane@x.test")
    small.account.script(answer(503), reset(), answer(400))
    with pytest.raises((Refused, Unanswered)):
        small.polls()
    small.polls()
    small.stitches()
    assert "@" not in caplog.text
    assert "@" not in str(small.said())


def test_what_came_by_segment_while_the_key_was_being_set_counts_by_segment(shop: Shop) -> None:
    """For the first poll these are history; their copies are stitched before it and after."""
    shop.settle_on(KLAVIYO_WEBHOOK_SECRETS="")
    early, late = shop.mails("jane@x.test", ago=10_000), shop.mails("jane@x.test", ago=5_000)
    copies = [told.opened(f"s{n}", iso(NOW - ago), "jane@x.test") for n, ago in enumerate((10_000, 5_000))]
    told.feed(shop.store, shop.house, copies[:1], NOW)
    shop.polls()
    told.feed(shop.store, shop.house, copies[1:], NOW + MINUTE)
    shop.clock.now += MINUTE
    new = shop.mails("jane@x.test")
    told.feed(shop.store, shop.house, [told.opened("s2", iso(shop.clock.now), "jane@x.test")], shop.clock.now)
    shop.polls()
    shop.stitches()
    counted = {one for one, (outcome, _) in shop.outcomes().items() if outcome == "held"}
    assert counted == {"s0", "s1", new.id}
    assert {shop.outcomes()[one][0] for one in (early.id, late.id, "s2")} == {"ignored"}


def test_one_metric_that_klaviyo_refuses_keeps_no_other_from_being_read(small: Shop) -> None:
    ids = {small.mails("jane@x.test", metric).id for metric in ("Opened Email", "Received Email", "Clicked Email")}
    small.account.script(answer(400), path="/api/events")
    with pytest.raises(Refused, match="HTTP 400") as error:
        small.polls()
    assert len(error.value.__notes__) == 1, "which one it was"
    assert len(ids - set(small.read())) == 1


def test_a_key_for_other_work_makes_no_channel_of_polling(small: Shop, tmp_path: Path) -> None:
    from connector.resources import shipped_mappings

    (tmp_path / "sources").mkdir()
    shipped = (shipped_mappings() / "sources" / "klaviyo.toml").read_text()
    (tmp_path / "sources" / "klaviyo.toml").write_text(shipped.replace("enabled = true", "enabled = false"))
    small.settle_on(KLAVIYO_WEBHOOK_SECRETS="", MAPPINGS=str(tmp_path))
    told.feed(small.store, small.house, [told.opened("s1", iso(NOW), "jane@x.test")], NOW)
    assert small.outcomes()["s1"][0] == "held"
