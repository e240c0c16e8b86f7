"""Hides the addresses in a text, wherever it is shown to people: the pages and the commands use the same rule."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

AT: Final = re.compile(r"(@|%(?:25)*40|\\{1,8}u0040|&#64;)", re.IGNORECASE)
"""The sign as it stands in texts, in query strings however often they were escaped, in JSON and in HTML."""

_NO_PART: Final = r"\s@,;:<>()\"'\\=/?&"
_DOMAIN: Final = re.compile(rf"[^{_NO_PART}%]")
_LOCAL_BACKWARDS: Final = re.compile(rf"[^{_NO_PART}]+")
_QUOTED_BACKWARDS: Final = re.compile(r'"\\?([^"\\\r\n]{1,128})"')


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
