"""What an operator's act changed: the words in which a preview shows it and the log tells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from connector.messages import Identifier, Json, Milliseconds, iso
from connector.outbox import Ids

LISTED: Final = 1_000
"""Changed events that the log names one by one."""


@dataclass(frozen=True, slots=True)
class Moved:
    """An email event whose visitor an act changed. what: addressed_anew, held_again, reattributed or corrected."""

    message: str
    event: str | None
    at: Milliseconds
    before: Ids
    after: Ids
    what: str

    def told(self) -> dict[str, Json]:
        return {
            "message": self.message,
            "event": self.event,
            "at": iso(self.at),
            "before": {"user_id": self.before.user_id, "anonymous_id": self.before.anonymous_id},
            "after": {"user_id": self.after.user_id, "anonymous_id": self.after.anonymous_id},
            "what": self.what,
        }

    def in_words(self) -> str:
        return f"{self.what.replace('_', ' ')}: {self.message}, from {_named(self.before)} to {_named(self.after)}"


@dataclass(frozen=True, slots=True)
class Profile:
    """A person around an act: their id, what they are known by, and which of the browsers concerned are theirs now."""

    id: str
    identifiers: tuple[Identifier, ...]
    browsers: tuple[str, ...]

    def told(self) -> dict[str, Json]:
        named = [{"type": one.type, "value": one.value} for one in self.identifiers]
        return {"profile_id": self.id, "identifiers": named, "browsers": list(self.browsers)}


@dataclass(slots=True)
class Effect:
    """What an act did: identifiers about which something is new, profiles before and after, events that moved."""

    said: str = ""
    changed: set[int] = field(default_factory=set)
    before: list[Profile] = field(default_factory=list)
    after: list[Profile] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    released: int = 0
    erased: dict[str, int] = field(default_factory=dict)
    names: set[Identifier] = field(default_factory=set)
    taught: list[tuple[int, int, str]] = field(default_factory=list)

    def add(self, other: Effect) -> None:
        self.changed |= other.changed
        self.names |= other.names

    @property
    def notes(self) -> list[str]:
        return [one.in_words() for one in self.moved[:LISTED]]

    def told(self) -> dict[str, Json]:
        """The effect as data, for a preview."""
        return {
            "said": self.said,
            "profiles": {
                "before": [one.told() for one in self.before],
                "after": [one.told() for one in self.after],
            },
            "events": [one.told() for one in self.moved],
            "erased": self.erased,
        }


def _named(ids: Ids) -> str:
    named = [f"{name} {value}" for name, value in (("userId", ids.user_id), ("anonymousId", ids.anonymous_id)) if value]
    return " with ".join(named) or "nobody"
