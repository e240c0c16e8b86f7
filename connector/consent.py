"""Whose consent was withdrawn, and when: what identity.toml requires, read from the choices that visitors made.

A choice holds from its minute on, until another one. In a minute with a refusal nothing counts, in one with none all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson
import sqlalchemy as sa

from connector import bulk
from connector.messages import MINUTE, Kind, Milliseconds
from connector.rules import OPT_OUT, Rules
from connector.tables import choices, mentions, messages

WITHDRAWN: Final = "consent was withdrawn"
"""How a reason begins that tells of it."""


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices of some identifiers, per category in the order of time: (minute, denied, granted in the end)."""

    made: Mapping[tuple[int, str], list[tuple[int, bool, bool]]] = field(default_factory=dict)
    categories: Mapping[int, list[str]] = field(default_factory=dict)

    def refused(self, one: int, at: Milliseconds) -> str | None:
        """The category that this identifier had refused at a time, None if there is none."""
        return next(self._refusals(one, at), None)

    def all_refused(self, one: int, at: Milliseconds) -> frozenset[str]:
        """Every category that this identifier had refused at a time."""
        return frozenset(self._refusals(one, at))

    def any_refused(self, ids: Iterable[int], at: Milliseconds) -> str | None:
        """The category that one of these had refused at a time."""
        return min((found for one in ids if (found := self.refused(one, at)) is not None), default=None)

    def _refusals(self, one: int, at: Milliseconds) -> Iterator[str]:
        minute = at // MINUTE
        for category in self.categories.get(one, ()):
            made = self.made[one, category]
            place = bisect_right(made, (minute, True, True)) - 1
            if place < 0:
                continue
            when, denied, granted = made[place]
            if denied if when == minute else not granted:
                yield category

    def has_refused(self, one: int) -> bool:
        """Did this identifier ever refuse anything?"""
        return any(denied for category in self.categories.get(one, ()) for _, denied, _ in self.made[one, category])


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a message in the log shows, and the category that somebody it speaks of had refused at its time, if any."""

    key: str
    taught: list[tuple[int, int, str, int]]
    refused: str | None


def of_messages(tx: sa.Connection, altered: Iterable[int], rules: Rules) -> dict[int, Spoken]:
    """The messages in the log that speak of identifiers whose choice turned, from their first refusal on."""
    since: dict[int, int] = {}
    for one, minute in bulk.select_by(tx, choices, ("identifier_id", "minute"), "identifier_id", altered, "denied"):
        since[one] = min(since.get(one, minute), minute)
    rows = bulk.select_by(tx, mentions, ("identifier_id", "at", "message"), "identifier_id", since)
    numbers = {message for one, at, message in rows if at // MINUTE >= since[one]}
    return _judged(tx, "id", numbers, rules)


def refused_messages(tx: sa.Connection, keys: Iterable[str], rules: Rules) -> set[str]:
    """Those of these messages (``source/messageId``) that speak of somebody who had refused at their time."""
    wanted = set(keys)
    if not rules.required and not rules.opt_out:
        return set()
    spoken = _judged(tx, "message_id", {key.partition("/")[2] for key in wanted}, rules)
    return {one.key for one in spoken.values() if one.refused} & wanted


def _judged(tx: sa.Connection, column: str, values: Iterable[int | str], rules: Rules) -> dict[int, Spoken]:
    columns = ("id", "at", "identifiers", "taught", "arrived_usable", "source", "message_id")
    told = bulk.select_by(tx, messages, columns, column, values, "identifiers is not null")
    rows = [
        (number, at, orjson.loads(carried), orjson.loads(taught or "[]"), email is not None, f"{source}/{message_id}")
        for number, at, carried, taught, email, source, message_id in told
    ]
    own = {number: own_of(carried, taught, email=email) for number, _, carried, taught, email, _ in rows}
    made = read(tx, {one for ids in own.values() for one in ids}, rules)
    return {
        number: Spoken(key, [(a, b, kind, at // MINUTE) for a, b, kind in taught], made.any_refused(own[number], at))
        for number, at, _, taught, _, key in rows
    }


def own_of(carried: list[int], taught: list[tuple[int, int, str]], *, email: bool) -> list[int]:
    """The identifiers a message speaks of itself: not those that only its page's URL named, which anybody can write."""
    by_url = {a for a, _, kind in taught if kind in (Kind.CLICKED, Kind.HINTED)}
    by_url -= {end for a, b, kind in taught if kind not in (Kind.CLICKED, Kind.HINTED) for end in (a, b)}
    return carried if email else [one for one in carried if one not in by_url]


def read(tx: sa.Connection, ids: Iterable[int], rules: Rules) -> Choices:
    """The choices of these identifiers, nothing being asked of the store where the rules require none."""
    required = [*rules.required, *([OPT_OUT] if rules.opt_out else [])]
    if not required:
        return Choices()
    made: dict[tuple[int, str], list[tuple[int, bool, bool]]] = {}
    categories: dict[int, list[str]] = {}
    columns = ("identifier_id", "category", "minute", "denied", "granted")
    rows = bulk.select_by(tx, choices, columns, "identifier_id", set(ids))
    for one, category, minute, denied, granted in sorted(rows):
        if category in required:
            made.setdefault((one, category), []).append((minute, bool(denied), bool(granted)))
            if category not in categories.setdefault(one, []):
                categories[one].append(category)
    return Choices(made, categories)
