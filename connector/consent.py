"""Whose consent was withdrawn, and when: what identity.toml requires, read from the choices that visitors made.

A choice holds from its minute on, until another one. In a minute with a refusal nothing counts, in one with none all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from connector import bulk
from connector.messages import MINUTE, Milliseconds
from connector.rules import OPT_OUT, Rules
from connector.tables import choices

WITHDRAWN: Final = "consent was withdrawn"
"""How a reason begins that tells of it."""


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices of some identifiers, per category in the order of time: (minute, denied, granted in the end)."""

    made: Mapping[tuple[int, str], list[tuple[int, bool, bool]]] = field(default_factory=dict)
    categories: Mapping[int, list[str]] = field(default_factory=dict)

    def refused(self, one: int, at: Milliseconds) -> str | None:
        """The category that this identifier had refused at a time, None if there is none."""
        minute = at // MINUTE
        for category in self.categories.get(one, ()):
            made = self.made[one, category]
            place = bisect_right(made, (minute, True, True)) - 1
            if place < 0:
                continue
            when, denied, granted = made[place]
            if denied if when == minute else not granted:
                return category
        return None

    def has_refused(self, one: int) -> bool:
        """Did this identifier ever refuse anything?"""
        return any(denied for category in self.categories.get(one, ()) for _, denied, _ in self.made[one, category])


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
