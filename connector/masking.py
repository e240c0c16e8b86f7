"""Hides what is not for everybody's eyes: addresses in a text that is shown to people, tokens in whatever is shown.

An address is masked on the pages and by the commands, all by the same rule. A token opens somebody's profile, so it is
hidden from those as well who may see addresses.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

import orjson

from connector import urls
from connector.messages import Json
from connector.rules import Rules

AT: Final = re.compile(r"(@|%(?:25)*40|\\{1,8}u0040|&#64;)", re.IGNORECASE)
"""The sign as it stands in texts, in query strings however often they were escaped, in JSON and in HTML."""

_NO_PART: Final = r"\s@,;:<>()\"'\\=/?&"
_DOMAIN: Final = re.compile(rf"[^{_NO_PART}%]")
_LOCAL_BACKWARDS: Final = re.compile(rf"[^{_NO_PART}]+")
_QUOTED_BACKWARDS: Final = re.compile(r'"\\?([^"\\\r\n]{1,128})"')


def without_tokens(body: str, rules: Rules) -> str:
    """The body of a message with its tokens and cookies hidden: in URLs, and where a site hands them over.

    It is the same text if it has none.
    """
    names = frozenset(one.parameter for one in rules.landings if one.decode or rules.is_token(one.type))
    keys = {path.rpartition(".")[2] for path in rules.secret_paths}
    keys |= {name for one in rules.tokens for name in (one.name, *one.external_ids)}
    try:
        told = orjson.loads(body)
        hidden = _hidden(told, names, keys)
    except (orjson.JSONDecodeError, RecursionError):
        return urls.masked(body, names)
    return body if hidden == told else orjson.dumps(hidden).decode()


def _hidden(value: Json, names: frozenset[str], keys: set[str]) -> Json:
    if isinstance(value, str):
        return urls.masked(value, names)
    if isinstance(value, list):
        return [_hidden(one, names, keys) for one in value]
    if not isinstance(value, dict):
        return value
    found = {name: urls.HIDDEN if name in keys and one else _hidden(one, names, keys) for name, one in value.items()}
    kind = value.get("type")
    if isinstance(kind, str) and kind in keys and value.get("id"):  # one of context.externalIds
        found["id"] = urls.HIDDEN
    return found


def mask(text: object) -> str:
    """``jane@x.test`` → ``j•••@x.test``, wherever one stands in a text; also ``jane%40x.test`` and ``"a b"@x.test``."""
    pieces = AT.split(str(text))  # before, sign, after, sign, after …; one look at each character
    befores, signs = pieces[::2], pieces[1::2]
    shown = [
        _masked(before, first=number == 0) if _DOMAIN.match(after) else before
        for number, (before, after) in enumerate(pairwise(befores))
    ]
    return "".join(before + sign for before, sign in zip(shown, signs, strict=True)) + befores[-1]


def _masked(before: str, *, first: bool) -> str:
    """The text before a sign, with all but the beginning of the local part it ends with replaced."""
    backwards = before[::-1]
    quoted = _QUOTED_BACKWARDS.match(backwards.removeprefix("\\"))
    if quoted:
        start = len(before) - before.endswith("\\") - quoted.end()
        return f"{before[: start + 1]}•••{before[start + 1 + len(quoted[1]) :]}"
    local = _LOCAL_BACKWARDS.match(backwards)
    if local is None or (local.end() == len(before) and not first):  # nothing, or the domain of the one before
        return before
    return f"{before[: len(before) - local.end() + 1]}•••"
