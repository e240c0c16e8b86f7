"""Segment's own reading of a filter: the same tree that its parser makes, however odd.

It knows no precedence (the last ``and`` or ``or`` of a level rules all of it), passes over every word it does not
know, takes any word after a field for an operator and any word after that for a value, and ends a group at the first
closing parenthesis.

Source: https://github.com/segmentio/action-destinations/blob/main/packages/destination-subscriptions/src/parse-fql.ts
(as published in @segment/destination-subscriptions 3.37.0)
"""

from __future__ import annotations

from typing import Final

from connector.language.fql.lexer import Token, Unreadable, characters, lex, units
from connector.language.fql.tree import OBJECT_FIELDS, TEXT_FIELDS, Condition, Group, Node
from connector.language.javascript import to_number, to_string

_INHERITED: Final = frozenset(
    ("constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf")
) | frozenset(("__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__", "__proto__"))
"""What every object of JavaScript has: Segment finds these in its table of fields, and eats the two words behind."""

_FUNCTIONS: Final = ("contains", "match")


def read(text: str) -> Group:
    """The tree of a filter.

    Raises: Unreadable where Segment's parser fails.
    """
    text = units(text)
    tokens = _Tokens(lex(text))
    node = _level(tokens)
    if node is None:
        raise Unreadable("there is no condition in it", 0)
    return node if isinstance(node, Group) else Group("and", (node,))


class _Tokens:
    """Words that are taken from the front, one after the other."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._next = 0

    def take(self) -> Token | None:
        """The next word, or None after the last one (which is usually ``eos``, but that one can be taken too)."""
        if self._next >= len(self._tokens):
            return None
        self._next += 1
        return self._tokens[self._next - 1]

    def need(self, missing: str) -> Token:
        token = self.take()
        if token is None:
            raise Unreadable(missing, self._tokens[-1].end)
        return token

    def negates(self) -> Token | None:
        """Takes the name of a function, if that is what comes next."""
        if self._next < len(self._tokens) and _is_function(self._tokens[self._next]):
            return self.take()
        return None


def _level(tokens: _Tokens) -> Node:
    nodes: list[Node] = []
    joined = "and"
    while (token := tokens.take()) is not None and token.kind != "eos":
        if _is_function(token):
            nodes += _function(token.value, tokens, negated=False)
        elif token.kind == "ident":
            nodes += _comparison(token.value, tokens)
        elif token.kind == "operator" and token.value == "!":
            if (name := tokens.negates()) is not None:
                nodes += _function(name.value, tokens, negated=True)
        elif token.kind == "parenleft":
            nodes.append(_group(token, tokens))
        elif token.kind == "conditional":
            joined = token.value
    return Group(joined, tuple(nodes)) if len(nodes) > 1 else next(iter(nodes), None)


def _group(opened: Token, tokens: _Tokens) -> Node:
    inside: list[Token] = []
    while (token := tokens.take()) is not None and token.kind != "parenright":
        inside.append(token)
    if token is None:
        raise Unreadable("a parenthesis is never closed, or stands inside of another one", opened.start)
    return _level(_Tokens([*inside, Token("eos", "eos", token.start, token.start)]))


def _comparison(name: str, tokens: _Tokens) -> list[Node]:
    field = name.split(".")[0]
    if field not in TEXT_FIELDS and field not in OBJECT_FIELDS and field not in _INHERITED:
        return []
    operator = tokens.need("an operator is missing").value
    token = tokens.need("a value is missing")
    if field in _INHERITED:
        return []
    return [_condition(field, name, operator, token)]


def _condition(field: str, name: str, operator: str, token: Token) -> Condition:
    path = _path(field, name)
    special = _without_value(field, operator, token)
    if special:
        return Condition(field, path, special)
    value = _value(token)
    if field in TEXT_FIELDS:
        return Condition(field, path, operator, to_string(value))
    if token.kind == "number" and operator in ("=", "!="):
        operator = "number_equals" if operator == "=" else "number_not_equals"
    return Condition(field, path, operator, value)


def _without_value(field: str, operator: str, token: Token) -> str | None:
    """The operator that a comparison with null, true or false becomes, where Segment knows it for this field."""
    if field in ("type", "event"):
        return None
    if token.value == "null":
        return {"=": "not_exists", "!=": "exists"}.get(operator)
    if field != "name" and operator == "=":
        return {"true": "is_true", "false": "is_false"}.get(token.value)
    return None


def _function(name: str, tokens: _Tokens, *, negated: bool) -> list[Node]:
    """``contains(field, text)`` and ``match(field, text)``; what the signs in between are is not looked at."""
    tokens.take()
    field = tokens.need(f"{name}() has no 1st argument").value
    tokens.take()
    token = tokens.need(f"{name}() has no 2nd argument")
    tokens.take()
    scope = next((one for one in OBJECT_FIELDS if field.startswith(one)), field)
    if scope not in ("event", "name", "userId", *OBJECT_FIELDS):
        return []
    value = to_string(_value(token))
    operator = "contains"
    if name == "match":
        starts = token.value.endswith('*"')
        value = characters(units(value)[:-1] if starts else units(value)[1:])
        operator = "starts_with" if starts else "ends_with"
    return [Condition(scope, _path(scope, field), f"not_{operator}" if negated else operator, value)]


def _path(field: str, name: str) -> str:
    return characters(name.removeprefix(f"{field}.")) if field in OBJECT_FIELDS else ""


def _value(token: Token) -> str | float | bool:
    if token.kind == "number":
        return to_number(token.value)
    if token.kind == "ident" and token.value in ("true", "false"):
        return token.value == "true"
    value = token.value
    return characters(value.removeprefix('"').removesuffix('"') if token.kind == "string" else value)


def _is_function(token: Token) -> bool:
    return token.kind == "ident" and token.value in _FUNCTIONS
