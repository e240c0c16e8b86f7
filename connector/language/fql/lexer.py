"""The words of a filter, as Segment's lexer finds them, oddities included.

Texts are read as JavaScript sees them, in UTF-16 units: ``units`` makes them so, ``characters`` undoes it. Whatever a
token holds is in units.

Source: https://www.npmjs.com/package/@segment/fql-ts (1.10.1)
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_SPACES: Final = " \t\n"  # a carriage return is none
_ENDS: Final = frozenset((" ", "\t", "\n", ",", "]", ")", ""))
"""What may follow a word, a closed text or ``!=``; the empty one is the end of the filter."""
_WORDS: Final = {"a": ("nd", "conditional"), "o": ("r", "conditional"), "n": ("ull", "null")}
"""Words with a meaning, by their first letter: the rest, and the kind of token."""
_SIGNS: Final = {
    ".": "dot",
    "[": "brackleft",
    "]": "brackright",
    ",": "comma",
    "(": "parenleft",
    ")": "parenright",
    "=": "operator",
}
_IDENT: Final = re.compile(r"(?:\\[\s\S]|[A-Za-z0-9_-])+")
_NUMBER: Final = re.compile(r"[+\-0-9][0-9.]*")
_ESCAPE: Final = re.compile(r"\\([\s\S])")


class Token(NamedTuple):
    """A word and where it stands: from ``start`` up to ``end``, where the next one begins to be looked for."""

    kind: str
    """ident, dot, operator, conditional, string (quotes included), number, null, comma, a bracket or paren, or eos."""
    value: str
    start: int
    end: int


class Unreadable(ValueError):
    """A filter that Segment cannot parse: why, and at which unit of the text."""

    def __init__(self, reason: str, at: int) -> None:
        self.reason = reason
        self.at = at
        super().__init__(reason)


def units(text: str) -> str:
    """The text with every character beyond U+FFFF as the two halves that JavaScript sees."""
    if all(character <= "\uffff" for character in text):
        return text
    octets = text.encode("utf-16-le", "surrogatepass")
    return "".join(chr(int.from_bytes(octets[at : at + 2], "little")) for at in range(0, len(octets), 2))


def characters(text: str) -> str:
    """The opposite of units; a half without its other half stays one."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def place(text: str, at: int) -> str:
    """Where a unit of a text is, for a person."""
    return f"character {len(characters(text[:at])) + 1}"


def lex(text: str) -> list[Token]:
    """All words of a text in units, the last one ``eos``; paths are one word (``properties`` ``.`` ``a``).

    Raises: Unreadable where Segment's lexer stops. Segment then goes on without any word, so that nothing parses.
    """
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        if text[at] in _SPACES:
            at += 1
            continue
        token = _token(text, at)
        tokens.append(token)
        at = token.end
    return _paths([*tokens, Token("eos", "eos", at, at)])


def escapes(text: str) -> set[str]:
    """The characters that stand behind a backslash."""
    return set(_ESCAPE.findall(text))


def _token(text: str, at: int) -> Token:
    character = text[at]
    if character in _SIGNS:
        return Token(_SIGNS[character], character, at, at + 1)
    if character in "!<>":
        return _operator(text, at)
    if character in "\"'":
        return _string(text, at)
    if _NUMBER.match(character):
        return _number(text, at)
    if character in "\\_" or _is_letter(character):
        return _word(text, at)
    raise Unreadable(f"a filter cannot have the character {character!r} outside of quotes", at)


def _operator(text: str, at: int) -> Token:
    character, following = text[at], text[at + 1 : at + 2]
    if character == "!" and (_is_letter(following) or following == "("):
        return Token("operator", "!", at, at + 1)
    if following == "=" and text[at + 2 : at + 3] in _ENDS:
        return Token("operator", character + "=", at, at + 2)
    if character == "!":
        raise Unreadable("after ! there has to be = and a space, or contains( or match(", at)
    return Token("operator", character, at, at + 1)


def _string(text: str, at: int) -> Token:
    close = text.find(text[at], at + 1)
    if close < 0:
        raise Unreadable("a text begins with a quote that is never closed", at)
    # A closing quote without a space behind it is left lying, and opens the next text.
    end = close + 1 if text[close + 1 : close + 2] in _ENDS else close
    return Token("string", text[at : close + 1], at, end)


def _number(text: str, at: int) -> Token:
    found = _NUMBER.match(text, at)
    assert found is not None  # noqa: S101 - the caller looked at the first character
    value, end = found.group(), found.end()
    if value.count(".") > 1 or (value.endswith(".") and text[end : end + 1] in _ENDS):
        raise Unreadable("a number has at most one decimal point, with digits behind it", at)
    return Token("number", value, at, end)


def _word(text: str, at: int) -> Token:
    """``and``, ``or``, ``null``, or a name."""
    rest, kind = _WORDS.get(text[at], ("", ""))
    end = at + 1 + len(rest)
    if rest and text.startswith(rest, at + 1) and text[end : end + 1] in _ENDS:
        return Token(kind, text[at:end], at, end)
    if end > len(text) and _ENDS.isdisjoint(text[at + 1 :]):
        return Token("ident", text[at], at, len(text))  # looking for the rest runs over the end, and never comes back
    found = _IDENT.match(text, at)
    if found is None or text[found.end() : found.end() + 1] == "\\":
        raise Unreadable("a backslash stands at the end of the filter", len(text) - 1)
    end = found.end()
    if text[end : end + 1] not in _ENDS and text[end] not in ".(=!":
        raise Unreadable("after a name there has to be a space, a dot, =, ! or a parenthesis", end)
    return Token("ident", _ESCAPE.sub(r"\1", found.group()), at, end)


def _paths(tokens: list[Token]) -> list[Token]:
    joined: list[Token] = []
    for token in tokens:
        if token.kind == "ident" and len(joined) > 1 and [one.kind for one in joined[-2:]] == ["ident", "dot"]:
            first = joined[-2]
            joined[-2:] = [Token("ident", f"{first.value}.{token.value}", first.start, token.end)]
        else:
            joined.append(token)
    return joined


def _is_letter(character: str) -> bool:
    return character.isascii() and character.isalpha()
