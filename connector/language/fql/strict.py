"""A filter as a person reads it, and a refusal of every filter that Segment reads otherwise.

What is accepted makes the very tree that ``exact`` makes. The grammar, in which a level has ``and`` or ``or``, not
both, and the inner level has no functions::

    filter     = term { "and" term } | term { "or" term }
    term       = comparison | ["!"] function | "(" comparison { "and" comparison } ")"    or the same with "or"
    comparison = field operator value
    function   = "contains" "(" field "," text ")" | "match" "(" field "," text with one star, first or last ")"
    value      = text in double quotes | number | true | false | null

A refusal says where (the character, counted from 1), what Segment makes of it, and what to write instead. It never
quotes a text of the filter, which may be an address.
"""

from __future__ import annotations

from math import isfinite
from typing import Final, NoReturn

from connector.language.fql import advice
from connector.language.fql.lexer import Token, Unreadable, characters, escapes, lex, place, units
from connector.language.fql.tree import OBJECT_FIELDS, TEXT_FIELDS, Condition, Group
from connector.language.javascript import to_number

_EQUALS: Final = ("=", "!=")
_OPERATORS: Final = (*_EQUALS, "<", "<=", ">", ">=")
_FUNCTIONS: Final = ("contains", "match")


class Refused(ValueError):
    """A filter that is not accepted; the words are for a person, without a full stop."""

    def __init__(self, text: str, at: int, sentence: str) -> None:
        super().__init__(f"{place(text, at)}: {sentence}")


def read(text: str) -> Group:
    """The tree of a filter.

    Raises: Refused.
    """
    text = units(text)
    try:
        tokens = lex(text)
    except Unreadable as error:
        raise Refused(text, error.at, error.reason + advice.on_unreadable(text, error.at)) from error
    node = _Reading(text, tokens).level()
    return node if isinstance(node, Group) else Group("and", (node,))


class _Reading:
    """One pass over the words of a filter."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._next = 0

    def level(self, opened: Token | None = None) -> Condition | Group:
        """Conditions up to the end of the filter, or up to the parenthesis that closes ``opened``."""
        terms = [self._term(opened)]
        joined = ""
        while (token := self._take()).kind != ("parenright" if opened else "eos"):
            if token.kind == "eos" and opened:
                self._refuse(opened, advice.UNCLOSED)
            if token.kind != "conditional":
                self._refuse(token, advice.on_unjoined(token))
            if joined not in ("", token.value):
                self._refuse(token, advice.MIXED)
            joined = token.value
            terms.append(self._term(opened))
        return Group(joined, tuple(terms)) if joined else terms[0]

    def _term(self, opened: Token | None) -> Condition | Group:
        token = self._take()
        negated = token.kind == "operator" and token.value == "!"
        if negated:
            if not _is_function(self._peek()):
                self._refuse(token, advice.NEGATED)
            token = self._take()
        if _is_function(token):
            if opened:
                self._refuse(token, advice.FUNCTION_IN_GROUP)
            return self._function(token, negated=negated)
        if token.kind == "parenleft":
            if opened:
                self._refuse(token, advice.NESTED)
            return self.level(token)
        if token.kind != "ident":
            self._refuse(token, advice.on_no_condition(token))
        return self._comparison(token)

    def _comparison(self, name: Token) -> Condition:
        field, path = self._field(name)
        sign = self._take()
        if sign.kind != "operator" or sign.value not in _OPERATORS:
            self._refuse(sign, advice.on_operator(sign))
        token = self._take()
        if token.kind in ("null", "ident"):
            return Condition(field, path, self._word(field, sign, token))
        if token.kind == "string":
            text = self._string(token)
            if sign.value not in _EQUALS:
                self._refuse(token, advice.ORDERED_TEXT)
            return Condition(field, path, sign.value, text)
        if token.kind != "number" or not isfinite(number := to_number(token.value)):
            self._refuse(token, advice.on_value(token))
        if field in TEXT_FIELDS:
            self._refuse(token, advice.on_text_field(field))
        operator = {"=": "number_equals", "!=": "number_not_equals"}.get(sign.value, sign.value)
        return Condition(field, path, operator, number)

    def _word(self, field: str, sign: Token, token: Token) -> str:
        """The operator that a comparison with null, true or false is."""
        if token.kind == "null":
            if field in ("type", "event"):
                self._refuse(token, advice.on_null(field))
            if sign.value not in _EQUALS:
                self._refuse(sign, advice.ORDERED_WORD)
            return "not_exists" if sign.value == "=" else "exists"
        if token.value not in ("true", "false"):
            self._refuse(token, advice.on_value(token))
        if field in TEXT_FIELDS:
            self._refuse(token, advice.on_text_field(field))
        if sign.value == "!=":
            self._refuse(sign, advice.UNLIKE_TRUE)
        if sign.value != "=":
            self._refuse(sign, advice.ORDERED_WORD)
        return f"is_{token.value}"

    def _function(self, name: Token, *, negated: bool) -> Condition:
        self._expect("parenleft", name, advice.SHAPE)
        argument = self._expect("ident", name, advice.SHAPE)
        field, path = self._field(argument)
        if field == "type":
            self._refuse(argument, advice.TYPE_IN_FUNCTION)
        self._expect("comma", name, advice.SHAPE)
        token = self._expect("string", name, advice.SHAPE)
        operator, text = "contains", self._string(token)
        if name.value == "match":
            if text.count("*") != 1 or not (text.startswith("*") or text.endswith("*")):
                self._refuse(token, advice.PATTERN)
            operator = "starts_with" if text.endswith("*") else "ends_with"
            text = text.strip("*")
        self._expect("parenright", name, advice.SHAPE)
        return Condition(field, path, f"not_{operator}" if negated else operator, text)

    def _field(self, token: Token) -> tuple[str, str]:
        """The field and the path in it."""
        field, dot, path = token.value.partition(".")
        if escapes(self._text[token.start : token.end]) & set(".[]"):
            self._refuse(token, advice.ESCAPED)
        if field in TEXT_FIELDS and not dot:
            return field, ""
        if field not in OBJECT_FIELDS:
            self._refuse(token, advice.on_field(token, self._peek()))
        if not dot:
            self._refuse(token, advice.on_object(field, self._peek()))
        return field, characters(path)

    def _string(self, token: Token) -> str:
        if token.value.startswith("'"):
            self._refuse(token, advice.SINGLE_QUOTES)
        if token.end - token.start < len(token.value):  # the closing quote was left lying
            self._refuse(token, advice.GLUED)
        return characters(token.value[1:-1])

    def _expect(self, kind: str, name: Token, sentence: str) -> Token:
        token = self._take()
        if token.kind != kind:
            self._refuse(token, sentence.format(name=name.value))
        return token

    def _take(self) -> Token:
        """The next word; ``eos`` for ever at the end."""
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _refuse(self, token: Token, sentence: str) -> NoReturn:
        raise Refused(self._text, token.start, sentence)


def _is_function(token: Token) -> bool:
    return token.kind == "ident" and token.value in _FUNCTIONS
