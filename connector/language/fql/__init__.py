"""Filters in FQL, the language of Segment's destination subscriptions: ``type = "track" and event = "Email Opened"``.

A text becomes words (``lexer``), the words a tree, the tree a function (``predicate``). Two ways lead to the tree:
``exact`` reads as Segment does, misreadings included; ``strict`` reads as a person does, and refuses what Segment would
read otherwise. So a filter that strict accepts means the same here, there, and to whoever wrote it.

The filters of Segment's Public API and its Destination Filters are a larger language; this is not that one.

Source: https://github.com/segmentio/action-destinations/tree/main/packages/destination-subscriptions
"""

from __future__ import annotations

from typing import Final

from connector.errors import MappingError
from connector.language.fql import exact, strict
from connector.language.fql.lexer import Unreadable, place, units
from connector.language.fql.predicate import Predicate, compile_tree
from connector.language.fql.tree import Group

__all__ = ["LONGEST", "Predicate", "compile_filter", "problem"]

LONGEST: Final = 5_000
"""Characters; what is longer than that was not written by a person."""

_EXACTLY: Final = '; fql = "segment" takes the filter as Segment would'
_NEITHER: Final = "; Segment cannot read the filter either"
_NOTHING: Final = Group("or", ())


def compile_filter(text: str, where: str, *, exact: bool = False) -> Predicate:
    """The function that says of an event whether it fits a filter. It never raises.

    Args: exact is for Segment's own behaviour; a filter that does not parse then matches nothing (see ``problem``).

    Raises: MappingError, but not with exact, for what does not parse and for what Segment reads otherwise than a
    person does; the sentence says what Segment would do and what to write instead.
    """
    if exact:
        return compile_tree(_exact_tree(text))
    if len(text) > LONGEST:
        raise MappingError(f"{where}: {_too_long(text)}")
    try:
        return compile_tree(strict.read(text))
    except strict.Refused as error:
        raise MappingError(f"{where}: {error}{_NEITHER if problem(text) else _EXACTLY}") from None


def problem(text: str) -> str | None:
    """Why Segment cannot parse a filter, so that it matches nothing; None if it can."""
    if len(text) > LONGEST:
        return _too_long(text)
    try:
        exact.read(text)
    except Unreadable as error:
        return f"{place(units(text), error.at)}: {error.reason}"
    return None


def _exact_tree(text: str) -> Group:
    if len(text) > LONGEST:
        return _NOTHING
    try:
        return exact.read(text)
    except Unreadable:
        return _NOTHING


def _too_long(text: str) -> str:
    return f"the filter has {len(text):,} characters, more than {LONGEST:,}; split it into several mappings"
