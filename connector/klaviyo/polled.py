"""What polling says of itself: to whoever watches, to `connector check`, and why Klaviyo refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson
import sqlalchemy as sa

from connector import bulk
from connector.klaviyo import rights
from connector.klaviyo.api import Refused
from connector.klaviyo.pages import Page
from connector.klaviyo.readings import Part, Reading
from connector.messages import Milliseconds
from connector.tables import facts

FACT: Final = "klaviyo.poll"
"""The row of ``facts`` that says how it goes: {"at": milliseconds, "ok", "said"}."""

FORBIDDEN: Final = (
    f"the key may not read events: make one with the scopes metrics:read, events:read and profiles:read (Klaviyo:"
    f" Settings, API keys), and set {rights.KEY} to it"
)
NOTHING_YET: Final = "Klaviyo has none of the email metrics yet; they appear with the first mail that it sends"


@dataclass(frozen=True, slots=True)
class Step:
    """One page, for whoever watches: of which metric, what for (new, history, late), its events and how many messages
    of it were new, and how much of the span is done, from 0 to 1."""

    metric: str
    what: str
    events: int
    stored: int
    share: float


Progress = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Polled:
    """What was read. stored: messages that were new, records of profiles among them. more: something is left to read;
    later: but not at once. idle: another process reads."""

    metrics: int = 0
    pages: int = 0
    events: int = 0
    stored: int = 0
    more: bool = False
    later: bool = False
    idle: bool = False

    def __add__(self, other: Polled) -> Polled:
        return Polled(
            max(self.metrics, other.metrics),
            self.pages + other.pages,
            self.events + other.events,
            self.stored + other.stored,
            self.more or other.more,
            self.later or other.later,
            self.idle or other.idle,
        )


def nothing(_step: Step) -> None:
    """Where nobody watches."""


def note(tx: sa.Connection, now: Milliseconds, said: str, *, ok: bool) -> None:
    """Remember how it goes."""
    value = orjson.dumps({"at": now, "ok": ok, "said": said}).decode()
    bulk.insert_rows(
        tx, facts, ("name", "value"), [(FACT, value)], "on conflict (name) do update set value = excluded.value"
    )


def explained(error: Refused) -> str:
    """Why Klaviyo refused, and what to do."""
    if error.status == 401:
        return rights.NO_KEY
    return FORBIDDEN if rights.of_the_key(error) else f"{noted(error)}{error}"


def noted(error: Exception) -> str:
    """What it was that failed."""
    return "".join(getattr(error, "__notes__", ()))


def summary(told: Polled) -> str:
    """What a round read, in words."""
    if not told.metrics:
        return NOTHING_YET
    more = "; more is being read" if told.more else ""
    return f"{told.metrics} metrics, {told.events:,} events read, {told.stored:,} new messages{more}"


def step(name: str, part: Part, reading: Reading, page: Page, new: int, now: Milliseconds) -> Step:
    """A page, as it is told of."""
    ends = reading.until or now
    reached = ends if page.following is None else page.reached or reading.since
    share = (reached - reading.since) / max(1, ends - reading.since)
    what = "new" if part == "recent" else "history" if reading.history else "late"
    return Step(name, what, page.events, new, min(1.0, max(0.0, share)))
