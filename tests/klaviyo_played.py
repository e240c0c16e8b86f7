"""A day of traffic as it is played in a town, and what each side has to hold at its end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from connector.demo import segment as segment_standin
from connector.demo.klaviyo_standin import KlaviyoStandIn, Profile, answer, hang, reset
from connector.demo.klaviyo_standin.account import topic
from connector.demo.klaviyo_standin.mail import element
from connector.demo.segment import SegmentStandIn
from connector.messages import DAY, HOUR, MINUTE, Identifier, Milliseconds, parse_time
from connector.tables import attempts
from tests import klaviyo_today as today
from tests.klaviyo_lives import Day
from tests.klaviyo_people import SENT, UNCOUNTED, Mail, Person, Visit
from tests.klaviyo_town import Town

BEGAN = parse_time("2026-11-20T00:00:00Z") or 0
BATCH = 100

TRACKING = {
    "auto_add_parameters": True,
    "custom_parameters": [{"name": "kl_pid", "campaign": {"type": "dynamic", "value": "profile_id"}}],
}


@dataclass
class Played:
    """A day as it is played in a town. sent: what became of each email event, by its id at Klaviyo."""

    day: Day
    town: Town
    segment: SegmentStandIn
    klaviyo: KlaviyoStandIn
    steps: int
    hangs: int
    sent: dict[str, Mail] = field(default_factory=dict)
    faults: int = 0

    @property
    def rng(self) -> random.Random:
        return self.day.rng

    def play(self) -> None:
        self._history()
        visits, mails = iter_due(self.day.visits, "arrives"), iter_due(self.day.mails, "at")
        unread: list[Mail] = []
        unseen: list[Visit] = []
        hanging = set(self.rng.sample(range(self.steps), self.hangs))
        for step in range(self.steps):
            self.town.clock.at = max(self.town.clock.at, BEGAN + (step + 1) * DAY // self.steps)
            now = self.town.clock.at
            unread = self._mail([*unread, *mails(now)])
            unseen = self._visit([*unseen, *visits(now)])
            self._trouble(hangs=step in hanging)
            self.town.works()
        self.town.store.dies_in = None  # by now everybody has died often enough
        while unread or unseen:
            self._rest(10 * MINUTE)
            unread, unseen = self._mail(unread), self._visit(unseen)
        self._rest(10 * MINUTE)
        self._rest(26 * HOUR)  # until the second daily look for what came late; nobody waits for longer than 72 hours

    def _rest(self, span: Milliseconds) -> None:
        """Time goes by, and everything that can be done is."""
        self.town.finishes()
        self.town.clock.passes(span)
        self.town.finishes()

    def _history(self) -> None:
        """An account that has been mailing for long, to somebody the site never sees."""
        self.klaviyo.account.tracking.update(TRACKING)
        for metric in (*SENT, *UNCOUNTED):
            self.klaviyo.mail("old@mail.test", metric, BEGAN - 7 * DAY)
        self.klaviyo.settle()
        self.town.works()

    def _trouble(self, *, hangs: bool) -> None:
        """What goes wrong in this step."""
        wait, status = self.rng.choice((1, 7, 40)), self.rng.choice((500, 503, 504))
        at_klaviyo = [
            answer(429, retry_after=wait),
            answer(status),
            answer(500, stored=True),
            reset(),
            reset(stored=True),
        ]
        at_segment = [
            segment_standin.answer(429, retry_after=wait),
            segment_standin.answer(status),
            segment_standin.reset(),
            segment_standin.reset(stored=True),
        ]
        for_klaviyo = self.rng.choices(at_klaviyo, k=self.rng.randrange(4))
        for_segment = self.rng.choices(at_segment, k=self.rng.randrange(4))
        self.klaviyo.script(*for_klaviyo)
        self.segment.script(*for_segment)
        self.faults += len(for_klaviyo) + len(for_segment) + 2 * hangs
        if hangs:
            self.klaviyo.script(hang(stored=True), path="/api/event-bulk-create-jobs")
            self.segment.script(segment_standin.hang(stored=True))
        if self.rng.random() < 0.6:
            self.town.store.will_die(self.rng.randrange(1, 25), kept=self.rng.random() < 0.5)

    # -- mails ------------------------------------------------------------------------------------------------------

    def _mail(self, due: list[Mail]) -> list[Mail]:
        """These email events happen; those of people whom Klaviyo does not know yet come back, for later."""
        later, hooked, copied = [], [], []
        for one in due:
            profile = self._profile(one.whose)
            if profile is None:
                one.at = self.town.clock.at
                later.append(one)
                continue
            event = self._happens(one, profile)
            self.sent[event.id] = one
            if one.hook:
                hooked.append(element(topic(event), event))
            if one.copied and event.metric and event.metric.name in today.NAMES:
                copied += today.source([event])
            if one.refused:
                self.segment.refused.add(self._outgoing(event.id))
        if hooked:
            self.town.klaviyo_sends(hooked)
        if copied:
            self.town.segment_sends(copied)
        return later

    def _happens(self, one: Mail, profile: Profile) -> Any:
        address = profile.email
        changed = not one.whose.listed and address != one.whose.emails[0]
        if changed and self.rng.random() < 0.3:
            address = one.whose.emails[0]  # a mail of before the change, that is read now
        properties = {**one.properties, "Recipient Email Address": address}
        at = self.town.clock.at + 18 * HOUR if one.ahead else one.at
        return self.klaviyo.mail(profile, one.metric, at, properties, late_ms=one.late_ms)

    def _profile(self, one: Person) -> Profile | None:
        """Whom Klaviyo mails; None if it does not know them yet."""
        known = self.klaviyo.profile("external_id", one.user) if one.user and not one.listed else None
        known = known or self.klaviyo.profile("email", one.listed or one.emails[0])
        if known is None and one.listed:
            self.klaviyo.mail(one.listed, "Subscribed to List", self.town.clock.at)
            known = self.klaviyo.profile("email", one.listed)
        return known

    def _outgoing(self, event_id: str) -> str:
        return self.town.house.keys.outgoing_id(f"klaviyo/{event_id}", "segment")

    # -- visits -----------------------------------------------------------------------------------------------------

    def _visit(self, due: list[Visit]) -> list[Visit]:
        """These calls come. Those that follow a mail to people whom Klaviyo does not know yet come back, for later."""
        later, calls = [], []
        for one in due:
            profile = self._profile(one.whose) if one.landing and one.whose else None
            if one.landing and profile is None:
                later.append(one)
                continue
            if profile is not None:
                url = self.klaviyo.link(profile, "https://shop.test/")
                one.call["context"] = {"page": {"url": url, "search": url[url.index("?") :]}}
            calls.append(one.call)
        for at in range(0, len(calls), BATCH):
            self.town.segment_sends(calls[at : at + BATCH])
        return later

    # -- what is to be true -----------------------------------------------------------------------------------------

    def check(self) -> None:
        self.klaviyo.settle()
        quarantined = sum(one.wrong for one in self.day.visits)
        assert self.town.outcomes().get("quarantined", 0) == quarantined, "only what was made wrong"
        refused = sorted(self._outgoing(number) for number, one in self.sent.items() if one.refused)
        assert self.town.dead() == {"segment": refused}
        self._check_profiles()
        self._check_activity()
        self._check_emails()

    def _check_profiles(self) -> None:
        assert Counter(
            (one.external_id, one.email, one.properties.get("plan")) for one in self.klaviyo.profiles
        ) == Counter({*self.day.profiles(), (None, "old@mail.test", None)})
        assert self.klaviyo.emailless() == []
        people = ({"email": one.emails, "external_id": [one.user] if one.user else []} for one in self.day.people)
        assert self.klaviyo.duplicates(people) == []

    def _check_activity(self) -> None:
        whose = {id(self._profile(one)): one.name for one in self.day.people if one.in_klaviyo}
        held = [
            ((event.unique_id, event.metric.name), (whose.get(id(event.profile), "nobody"), event.second))
            for event in self.klaviyo.events
            if event.metric and event.metric.service == "api"
        ]
        assert Counter(held) == Counter(self.day.activity().items())
        assert [event for event in self.klaviyo.events if "anonymous_id" in event.given] == []

    def _check_emails(self) -> None:
        """What concerns an address waits for its owner only so long, and leaves then under an id of its own, which is
        joined as soon as they are known."""
        promptly = self.town.house.destination.compliance
        due = {
            number: (SENT[one.metric], one.whose.name)
            for number, one in self.sent.items()
            if one.counted and not one.refused and (one.whose.placed or SENT[one.metric] in promptly)
        }
        calls = [call for call in self.segment.accepted if call["type"] == "track"]
        held = [(call["context"]["connector"]["messageId"], (call["event"], self._whose(call))) for call in calls]
        assert Counter(held) == Counter(due.items())
        opaque = {name: one.user for one in self.day.people for name in self._opaque(one)}
        used = {call["anonymousId"] for call in calls if "userId" not in call} & opaque.keys()
        joined = [(call["anonymousId"], call["userId"]) for call in self.segment.accepted if call["type"] == "identify"]
        assert Counter(joined) == Counter((one, opaque[one]) for one in used if opaque[one])

    def _whose(self, call: dict[str, Any]) -> str:
        """Whose a call is that Segment has: that of whom all of its ids are."""
        one = self.sent.get(call["context"]["connector"]["messageId"])
        if one is None:
            return "nobody: it is no event of Klaviyo's"
        told = (call.get("userId"), call.get("anonymousId"), call["context"].get("traits", {}).get("email"))
        own = ({one.whose.user, None}, {*one.whose.browsers, None}, {*one.whose.emails, None})
        if call["event"] in self.town.house.destination.compliance:
            own[1].update(self._opaque(one.whose))
        right = all(given in known for given, known in zip(told, own, strict=True)) and any(told[:2])
        return one.whose.name if right else f"not {one.whose.name}: {told}"

    def _opaque(self, one: Person) -> list[str]:
        """The ids under which their mails leave before anybody knows them."""
        return [self.town.house.keys.opaque_id(Identifier("email", email)) for email in one.emails]

    def account(self, seconds: float) -> str:
        """What it came to, in figures."""
        with self.town.store.reading() as tx:
            query = sa.select(attempts.c.status, sa.func.count()).group_by(attempts.c.status)
            tries = {status: n for status, n in tx.execute(query)}  # noqa: C416 - rows are no pairs to the type checker
        lines = {
            "people": len(self.day.people),
            "calls of the site": len(self.day.visits),
            "email events": len(self.sent),
            "seconds": round(seconds, 1),
            "restarts": self.town.restarts,
            "faults": self.faults,
            "requests": {"klaviyo": len(self.klaviyo.requests), "segment": len(self.segment.requests)},
            "attempts": tries,
            "at klaviyo": {"profiles": len(self.klaviyo.profiles), "activity": len(self.day.activity())},
            "repeats dropped": {
                "klaviyo": sum(one.reason == "a repeated event" for one in self.klaviyo.silent),
                "segment": sum(one.code == "duplicate" for one in self.segment.dropped),
            },
            "at segment": len(self.segment.accepted),
            "deliveries": self.town.states(),
        }
        return "\n".join(f"{name}: {value}" for name, value in lines.items())


def iter_due(all_of: Sequence[Any], when: str) -> Callable[[Milliseconds], list[Any]]:
    """A function that gives what is due by a time, each once."""
    place = 0

    def due(now: Milliseconds) -> list[Any]:
        nonlocal place
        begin = place
        while place < len(all_of) and getattr(all_of[place], when) <= now:
            place += 1
        return list(all_of[begin:place])

    return due
