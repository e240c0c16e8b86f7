"""A filter after reading: conditions on single fields, in groups.

Source: https://github.com/segmentio/action-destinations/blob/main/packages/destination-subscriptions/src/types.ts
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TEXT_FIELDS: Final = ("type", "event", "name", "userId")
"""Fields at the top of an event; Segment compares them as texts."""

OBJECT_FIELDS: Final = ("properties", "traits", "context")
"""Objects of an event; a condition names a path inside one of them."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison. value is absent where the operator needs none (``exists``, ``is_true`` and their opposites)."""

    field: str
    """One of TEXT_FIELDS or OBJECT_FIELDS."""
    path: str
    """Inside an object field, with dots; empty for a text field."""
    operator: str
    """``= != < <= > >=``, ``contains``, ``starts_with``, … or, in an exact tree, whatever stood there."""
    value: str | float | bool | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Several conditions of which all (``and``) or one (``or``) must hold."""

    operator: str
    children: tuple[Node, ...]


Node = Condition | Group | None
"""None is an empty pair of parentheses: Segment fails when it comes to judge one."""
