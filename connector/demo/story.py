"""The story of design §1, played: who does what, what arrives at the connector, and what leaves it.

Nothing is invented on the way out: every line about a decision or a delivery says what the connector's own API
answered, what the stand-in for Segment got, and what the one for Klaviyo holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from connector.demo import holdings
from connector.demo.stage import Event, Stage
from connector.errors import ConnectorError
from connector.messages import MINUTE, SECOND, Milliseconds, Outcome, iso, now_ms

PROJECT: Final = "sHoPdEmO01"
WIDTH: Final = 20
NOTHING: Final = "nothing to link"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody of the story. browser is the anonymousId that Segment's library gave theirs."""

    name: str
    email: str
    browser: str


JANE: Final = Person("Jane", "jane@mail.example", "7f3a9c52-1d0e-4b7a-9a57-0c6f2e8b1d44")
TOM: Final = Person("Tom", "tom@mail.example", "b81e4d07-5a3c-4f69-8d21-9e70c4a6f3b2")
KIM: Final = Person("Kim", "kim@mail.example", "c41d7f98-2b6a-4e05-b3f4-61a8d0957e2c")
SAM: Final = Person("Sam", "sam@mail.example", "")
LEE: Final = Person("Lee", "", "e90b35c1-7d24-4c8f-b1e6-2f5a9d7c6038")
USER_ID: Final = "user-1042"


class Story:
    """Plays on a stage, chapter by chapter, and tells what happens."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._begin = now_ms() - 180 * MINUTE
        self._numbers: dict[str, int] = {}
        self._chapters = 0
        self._visits: dict[Person, list[str]] = {}
        self._mailed: list[str] = []
        self._copies = 0

    def play(self) -> None:
        """All of it, in order. Raises: ConnectorError if something does not become true."""
        self._browsing()
        self._own_form()
        self._popup()
        first = self._emails_come_back()
        self._signup()
        self._somebody_late(first)
        self._the_other_channel()
        self._sum()

    # -- chapters -----------------------------------------------------------------------------------------------------

    def _browsing(self) -> None:
        self._chapter("Jane browses the shop, and so does Lee. Nobody knows who they are.")
        self._site_sends(
            self._call("page", 0, JANE, name="Home"),
            self._call("track", 1, JANE, event="Product Viewed", properties={"sku": "LAMP-7"}),
            self._call("page", 2, LEE, name="Home"),
        )

    def _own_form(self) -> None:
        self._chapter("Jane leaves her address in the shop's form. What she did before lands on her Klaviyo profile.")
        self._site_sends(self._call("identify", 5, JANE, traits={"email": JANE.email}))
        self._at_klaviyo(JANE)
        self._aside("She goes on browsing anonymously.")
        self._site_sends(self._call("page", 6, JANE, name="Lamps"))

    def _popup(self) -> None:
        self._chapter("Tom leaves his in a Klaviyo pop-up. The snippet tells Segment, which would never hear of it.")
        self._site_sends(
            self._call("page", 10, TOM, name="Home"),
            self._call("identify", 11, TOM, traits={"email": TOM.email}),
        )
        self._at_klaviyo(TOM)

    def _emails_come_back(self) -> list[str]:
        self._chapter("Klaviyo mails them, and Kim and Sam, whom the site has never seen. Segment's Klaviyo source")
        self._aside("reports what became of it the way it does: with the email address for an anonymousId.")
        sent = [
            self._email("Email Delivered", 30, JANE),
            self._email("Email Opened", 41, JANE),
            self._email("Email Link Clicked", 42, JANE, link_url="https://shop.example/lamps"),
            self._email("Email Delivered", 30, TOM),
            self._email("Email Opened", 55, TOM),
            self._email("Email Delivered", 30, KIM),
            self._email("Email Opened", 58, KIM),
            self._email("Email Delivered", 30, SAM),
        ]
        self._came_back(sent)
        return [event["messageId"] for event in sent if _address(event) == KIM.email]

    def _signup(self) -> None:
        self._chapter("Jane signs up. From now on her email events carry her userId as well.")
        before = self._stage.klaviyo.profile("email", JANE.email)
        self._site_sends(self._call("identify", 90, JANE, userId=USER_ID, traits={"email": JANE.email}))
        labelled = self._stage.labelled_at_klaviyo(USER_ID)
        if before is None or (labelled.id, labelled.email) != (before.id, JANE.email):
            raise ConnectorError("Jane's userId became the External ID of another profile than hers")
        self._line("At Klaviyo", JANE.email, click.style(f"External ID {USER_ID}, on the same profile", fg="green"))
        self._came_back([self._email("Email Opened", 100, JANE)])

    def _somebody_late(self, waiting: Sequence[str]) -> None:
        self._chapter("Kim comes to the shop at last and leaves an address. What was held leaves, with its own time.")
        self._site_sends(
            self._call("page", 120, KIM, name="Home"),
            self._call("identify", 121, KIM, traits={"email": KIM.email}),
        )
        self._at_klaviyo(KIM)
        for message_id in waiting:
            told = self._stage.decided(message_id, unless="held")
            self._left(told["message"]["event"], KIM.email, told)
        self._aside("Sam's stays held for 72 hours, then leaves under an opaque id, to be joined should Sam turn up.")

    def _the_other_channel(self) -> None:
        self._chapter(
            "Klaviyo's API, asked every 5 seconds here, tells of the same mails. Each counts once: by Segment's"
        )
        self._aside("source, so this copy is evidence only (channel in mappings/sources/klaviyo.toml decides).")
        outcomes = Counter(_outcome(self._stage.decided(one)) for one in self._mailed)
        self._copies = outcomes[Outcome.IGNORED]
        became = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.items())
        self._line("Email events", f"{len(self._mailed)} read from Klaviyo", became, dim=True)

    def _sum(self) -> None:
        self._stage.reached_klaviyo(one for person in (JANE, TOM, KIM) for one in self._visits[person])
        stats = self._stage.stats()
        emails, rate = stats["email_events"], stats["orphan_rate"]
        click.echo()
        click.secho("  Orphan rate", bold=True, nl=False)
        click.echo(
            f"   before {click.style(_percent(rate['before']), fg='red', bold=True)}"
            f"   after {click.style(_percent(rate['after']), fg='green', bold=True)}"
        )
        click.echo(
            f"  {emails['total']} email events: {emails['stitched']} stitched at once, {emails['stitched_late']} late,"
            f" {emails['held']} held; {self._copies} copies by the other channel, not counted again."
        )
        dropped = len(self._stage.segment.dropped)
        click.echo(f"  Segment got {len(self._stage.segment.accepted)} events and dropped {dropped}.")
        click.echo()
        for line in holdings.told(self._stage.klaviyo, stats["outbox"]["klaviyo"]):
            click.echo(f"  {line}")

    # -- what is sent -------------------------------------------------------------------------------------------------

    def _site_sends(self, *calls: Event) -> None:
        self._stage.segment_sends(list(calls))
        for call in calls:
            told = self._stage.decided(call["messageId"])
            ids = [f"browser {_short(call['anonymousId'])}"]
            ids += [call["traits"]["email"]] if call.get("traits") else []
            ids += [call["userId"]] if call["userId"] else []
            name = call.get("event") or f"{call['type']} {call.get('name', '')}".strip()
            self._reasoned(name, ", ".join(ids), told["decision"]["reason"])

    def _at_klaviyo(self, person: Person) -> None:
        """What somebody did on the site until now, as Klaviyo has it."""
        arrived = self._stage.reached_klaviyo(self._visits[person])
        self._line(
            "At Klaviyo", person.email, click.style(", ".join(holdings.visit(one) for one in arrived), fg="green")
        )

    def _came_back(self, events: Iterable[Event]) -> None:
        """Broken events go in; each line says under which ids Segment got them back, or why not yet."""
        events = list(events)
        self._stage.segment_sends(events)
        for event in events:
            self._left(event["event"], _address(event), self._stage.decided(event["messageId"]))

    def _left(self, event: str, address: str, told: Event) -> None:
        arrived = click.style(f"anonymousId: {address}", fg="red")
        if told["decision"]["outcome"] == "held":
            self._line(event, arrived, click.style("held: nobody knows this address's visitor yet", fg="yellow"))
            return
        left = self._stage.left(told)
        ids = [f"{name}: {_short(left[name])}" for name in ("userId", "anonymousId") if left.get(name)]
        late = click.style(f"  of {left['originalTimestamp'][11:16]}, {_outcome(told)}", dim=True)
        late = late if told["decision"]["outcome"] == "stitched_late" else ""
        self._line(event, arrived, click.style(", ".join(ids), fg="green") + late)

    def _call(self, kind: str, minute: int, person: Person, **more: Any) -> Event:
        """A call of the shop's site as Segment's webhook destination passes it on."""
        at = self._begin + minute * MINUTE
        message_id = self._id(f"ajs-next-{at}")
        if kind != "identify":
            self._visits.setdefault(person, []).append(message_id)
        return {
            "type": kind,
            "messageId": message_id,
            "anonymousId": person.browser,
            "userId": None,
            **more,
            **_times(at),
            "channel": "client",
            "context": {
                "library": {"name": "analytics.js", "version": "next-1.84.0"},
                "page": {"url": "https://shop.example/", "path": "/"},
            },
            "integrations": {},
            "projectId": PROJECT,
            "version": 2,
        }

    def _email(self, event: str, minute: int, person: Person, **properties: Any) -> Event:
        """An email event of Segment's own Klaviyo source, with the defect that this connector is about.

        Source: https://segment.com/docs/connections/sources/catalog/cloud-apps/klaviyo/
        """
        at = self._begin + minute * MINUTE
        self._mailed.append(self._stage.klaviyo_mails(person.email, event, at))
        return {
            "type": "track",
            "event": event,
            "messageId": self._id(f"klaviyo-{at}"),
            "anonymousId": person.email,
            "userId": None,
            "properties": {"email_id": "01JMAIL01", "email_subject": "New lamps", **properties},
            **_times(at),
            "channel": "server",
            "context": {"integration": {"name": "Klaviyo", "version": "1.0.0"}, "traits": {"email": person.email}},
            "integrations": {},
            "projectId": "kLaViYoSrC",
            "version": 2,
        }

    def _id(self, stem: str) -> str:
        self._numbers[stem] = self._numbers.get(stem, 0) + 1
        return f"{stem}-{self._numbers[stem]:04d}"

    # -- telling ------------------------------------------------------------------------------------------------------

    def _chapter(self, text: str) -> None:
        self._chapters += 1
        click.echo()
        click.echo(f"{click.style(str(self._chapters), fg='cyan', bold=True)}  {click.style(text, bold=True)}")

    def _aside(self, text: str) -> None:
        click.secho(f"   {text}", bold=True)

    def _line(self, name: str, arrived: str, became: str, *, dim: bool = False) -> None:
        pad = " " * max(0, 36 - len(click.unstyle(arrived)))
        arrow = click.style("→", dim=True)
        click.echo(f"   {name.ljust(WIDTH)}{arrived}{pad}  {arrow}  {click.style(became, dim=dim or None)}")

    def _reasoned(self, name: str, arrived: str, reason: str) -> None:
        """A line about a call of the site, with the connector's own reason; what does not fit goes below."""
        said = [one for one in reason.split("; ") if one != NOTHING] or [NOTHING]
        self._line(name, arrived, said[0], dim=True)
        for more in said[1:]:
            self._line("", "", more, dim=True)


def introduce(stage: Stage) -> None:
    """What the reader is about to see."""
    click.secho("An email, and the visitor who opened it", bold=True)
    click.echo(f"A connector runs at {stage.url}, between stand-ins for Segment and Klaviyo. Everything below is")
    click.echo("real HTTP with real signatures, on this machine only. Left: what arrives; right: what becomes of it.")


def _times(at: Milliseconds) -> Event:
    return {
        "timestamp": iso(at),
        "originalTimestamp": iso(at),
        "sentAt": iso(at),
        "receivedAt": iso(at + SECOND),
    }


def _address(event: Event) -> str:
    address: str = event["context"]["traits"]["email"]
    return address


def _outcome(told: Event) -> str:
    return str(told["decision"]["outcome"]).replace("_", " ")


def _short(value: str) -> str:
    """The beginning of an id that a library made; what is short already stays."""
    return f"{value[:8]}…" if len(value) > 20 and "@" not in value else value


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
