"""The parameters of URLs: read, and taken out again without touching anything else. Pure.

A parameter is looked for wherever one can stand: in the query, in the fragment (``#/shop?_kx=…``), and in a URL that is
itself a value and therefore escaped (``?next=%2Fcart%3F_kx%3D…``), however often.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

from connector.messages import Json
from connector.rules import Rules

MOST: Final = 16_384
"""Characters of a URL that are read."""

HIDDEN: Final = "•••"

DEPTH: Final = 12
"""How deep values are looked into."""

LONGEST_NAME: Final = 2_000
LEVELS: Final = 12
"""Characters of a parameter's name as it is escaped, and how often it may be."""

STRIPPED: Final = ("event", "name", "properties", "traits", "context")
"""The parts of a call that are looked through."""

_DELIMITER: Final = re.compile(r"""&amp;|[?&#;\s"<>\\]|%(?:25)*(?:3[Ff]|26|23|3[Bb])""")
_EQUALS: Final = re.compile(r"=|%(?:25)*3[Dd]")
_JOINS: Final = ("&", ";", "&amp;", "26", "3b")
_ENDS: Final = re.compile(r'[\s"<>\\]')


class _Mark(NamedTuple):
    """A delimiter: where it stands, and how often it was escaped."""

    start: int
    end: int
    text: str
    level: int


def parameters(text: str) -> Iterator[tuple[str, str]]:
    """The (name, value) of each parameter of a URL or a query string, decoded; not those of URLs within it."""
    marks = [mark for mark in _marks(text[:MOST]) if mark.level == 0 and not _ENDS.fullmatch(mark.text)]
    starts = [0, *(mark.end for mark in marks)]
    ends = [*(mark.start for mark in marks), len(text[:MOST])]
    for start, end in zip(starts, ends, strict=True):
        name, sign, value = text[start:end].partition("=")
        if sign and value and not _ENDS.search(value):
            yield unquote_plus(name), unquote_plus(value)


def stripped(text: str, names: Collection[str]) -> str:
    """A URL or a query string without the parameters of these names; everything else stays byte for byte."""
    return _rewritten(text, names, None)


def masked(text: str, names: Collection[str]) -> str:
    """A text in which the parameters of these names have ``•••`` for a value."""
    return _rewritten(text, names, HIDDEN)


def _rewritten(text: str, names: Collection[str], shown: str | None) -> str:
    """Args: shown takes the place of a value; None takes the whole parameter out."""
    if not names or not _likely(frozenset(names)).search(text):
        return text
    marks = [*_marks(text), _Mark(len(text), len(text), "", 0)]
    kept: list[str] = []
    before, start, level, place = "", 0, 0, 0  # the delimiter before a piece, where that begins, its level; the next
    while True:
        following = marks[place]
        piece = text[start : following.start]
        if _name(piece) in names:
            while marks[place].level > level:  # what is escaped more often is part of the value
                place += 1
            following = marks[place]
            if shown is not None:
                sign = _EQUALS.search(piece)
                kept += [before, piece[: sign.end() if sign else 0], shown]
            elif following.level == level and _joins(following.text):
                start, place = following.end, place + 1  # the next one takes its place
                continue
            elif _ENDS.fullmatch(before):
                kept.append(before)
        else:
            kept += [before, piece]
        if following.start == len(text):
            return "".join(kept)
        before, start, level, place = following.text, following.end, following.level, place + 1


def stripped_call(call: Mapping[str, Json], rules: Rules) -> dict[str, Json]:
    """A Segment call as it may be passed on: without what names somebody only by a URL, a cookie or a link's token.

    The parameters of ``[[landings]]`` are taken out of every text in it, its name included, cookies and tokens from
    where identity.toml says that a site hands them over. What is unchanged is the same object.
    """
    found = dict(call)
    for path in rules.secret_paths:
        _drop(found, path.split("."))
    names = rules.parameters
    for part in STRIPPED:
        if found.get(part):
            found[part] = _cleaned(found[part], names)
    context = found.get("context")
    if isinstance(context, dict) and isinstance(context.get("externalIds"), list) and rules.tokens:
        kept = [one for one in context["externalIds"] if not _is_token(one, rules)]
        found["context"] = {**context, "externalIds": kept}
    return found


def _marks(text: str) -> Iterator[_Mark]:
    for match in _DELIMITER.finditer(text):
        sign = match[0]
        level = (len(sign) - 1) // 2 if sign[0] == "%" else 0
        yield _Mark(match.start(), match.end(), sign, level)


def _joins(sign: str) -> bool:
    return sign in _JOINS or (sign[:1] == "%" and sign[-2:].lower() in _JOINS)


def _name(piece: str) -> str | None:
    """What a piece between two delimiters is called, if it is a parameter."""
    sign = _EQUALS.search(piece)
    if sign is None:
        return None
    name = piece[: sign.start()]
    if len(name) > LONGEST_NAME:  # taken apart level by level, a long one would cost its length squared
        return None
    for _ in range(LEVELS):
        name = unquote_plus(name)
    return name


@lru_cache(maxsize=64)
def _likely(names: frozenset[str]) -> re.Pattern[str]:
    """Finds these names, each character as it is or escaped: whatever else is in a text, it need not be taken apart."""
    spelled = ("".join(f"(?:{re.escape(one)}|%(?:25)*(?i:{ord(one):02x}))" for one in name) for name in sorted(names))
    return re.compile(f"(?:{'|'.join(spelled)})(?:=|%)")


def _cleaned(value: Json, names: frozenset[str], depth: int = DEPTH) -> Json:
    if isinstance(value, str):
        return stripped(value, names) if "=" in value or "%" in value else value
    if depth == 0 or not isinstance(value, dict | list):
        return value
    if isinstance(value, list):
        listed = [_cleaned(one, names, depth - 1) for one in value]
        return listed if any(new is not old for new, old in zip(listed, value, strict=True)) else value
    told = {name: _cleaned(one, names, depth - 1) for name, one in value.items()}
    return told if any(told[name] is not one for name, one in value.items()) else value


def _drop(call: dict[str, Json], steps: list[str]) -> None:
    """Remove what stands at a path, on copies of what leads there."""
    here: Json = call
    for step in steps:
        if not isinstance(here, dict) or step not in here:
            return
        here = here[step]
    here = call
    for step in steps[:-1]:
        here[step] = dict(here[step])
        here = here[step]
    del here[steps[-1]]


def _is_token(one: Json, rules: Rules) -> bool:
    known = rules.external_type(one.get("type")) if isinstance(one, dict) else None
    return known is not None and known.token
