"""The directives that make text: ``@template``, ``@case`` and ``@replace``.

Source: https://github.com/segmentio/action-destinations/blob/main/packages/core/src/mapping-kit/placeholders.ts
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from connector.errors import MappingError
from connector.language.javascript import UNDEFINED, WHITESPACE, Value, is_truthy, length, to_string, type_of
from connector.language.nodes import (
    LONGEST_RESULT,
    NOTHING,
    Node,
    Place,
    Scope,
    a_kind,
    deep,
    failing,
    folded,
    mistaken,
    no_object,
)
from connector.language.paths import find, getter, steps_of
from connector.messages import Json

LONGEST_PATTERN: Final = 10
"""Of @replace, in UTF-16 units, for replacements too."""
CASES: Final = {"lower": str.lower, "upper": str.upper}
TOO_LONG: Final = f"makes a text longer than {LONGEST_RESULT:,} characters"
LIVE: Final = re.compile(r"\$([$&`'])")


class Placeholder(NamedTuple):
    start: int
    end: int
    path: str


def placeholders(text: str, braces: int) -> Iterator[Placeholder]:
    """What ``/{{([^}]+)}}/g`` finds for two braces, in linear time; paths trimmed as JavaScript trims."""
    opening, closing = "{" * braces, "}" * braces
    start = text.find(opening)
    while start >= 0:
        brace = text.find("}", start + braces)
        if brace < 0:
            return
        end = brace + 1
        if brace > start + braces and text.startswith(closing, brace):
            end = brace + braces
            yield Placeholder(start, end, text[start + braces : brace].strip(WHITESPACE))
        start = text.find(opening, end)


def template(operand: Json, scope: Scope) -> Node:
    """Text with ``{{path}}`` and ``{{{path}}}`` filled in, neither escaped."""
    if isinstance(operand, str):
        constant = "{{" not in operand
        filled = compile_template(operand, scope.place)
        return folded(Node(filled, filled, constant=constant))
    if not isinstance(operand, Mapping):
        return no_text(operand, scope)
    text_of, place = text_operand("@template", scope.part(operand), scope.place), scope.place

    def fill(payload: Json) -> str:
        return _fill(_fill(text_of(payload), 3, payload, place), 2, payload, place)

    return Node(fill, fill)


def no_text(operand: Json, scope: Scope) -> Node:
    """A directive whose operand has to be, or to become, a text and never will."""
    return mistaken(scope, f"should be a string or a mapping directive but it is {a_kind(type_of(operand))}")


def text_operand(name: str, operand: Node, place: Place) -> Callable[[Json], str]:
    """The operand of a directive that has to become a string, and raises if it does not."""
    value_of = operand.exact

    def read(payload: Json) -> str:
        value = value_of(payload)
        if not isinstance(value, str):
            raise place.error(f"{name}: expected string, got {type_of(value)}")
        return value

    return read


def compile_template(text: str, place: Place) -> Value:
    """Three braces are filled first, and what comes of it is searched for two: a payload may bring placeholders in."""
    if next(placeholders(text, 3), None) is None:
        return _filler(text, 2)
    first = _filler(text, 3)
    return lambda payload: _fill(first(payload), 2, payload, place)


def _filler(text: str, braces: int) -> Value:
    parts: list[str] = []
    getters: list[Value] = []
    at = 0
    for found in placeholders(text, braces):
        parts.append(text[at : found.start])
        getters.append(getter(found.path) if steps_of(found.path) else _whole)
        at = found.end
    tail = text[at:]
    if not getters:
        return lambda _payload: text
    if len(getters) == 1:
        head, only = parts[0], getters[0]
        return lambda payload: f"{head}{_shown(only(payload))}{tail}"
    pairs = list(zip(parts, getters, strict=True))
    return lambda payload: "".join([part + _shown(get(payload)) for part, get in pairs]) + tail


def _fill(text: str, braces: int, payload: Json, place: Place) -> str:
    """A text that the payload had a hand in, and may have filled with placeholders."""
    done, at, room = [], 0, LONGEST_RESULT
    for found in placeholders(text, braces):
        shown = _shown(find(payload, found.path) if steps_of(found.path) else _whole(payload))
        room -= len(shown)
        if room < 0:
            raise place.error(TOO_LONG)
        done += [text[at : found.start], shown]
        at = found.end
    return "".join([*done, text[at:]])


def _whole(payload: Json) -> Json:
    return {} if payload is UNDEFINED else payload


def _shown(value: Json) -> str:
    if type(value) is str:
        return value
    return "" if value is None or value is UNDEFINED else str(deep(to_string, value))


def case(operand: Json, scope: Scope) -> Node:
    """A text in lower or upper case; anything else as it is, whatever the operator says."""
    if not isinstance(operand, Mapping):
        return no_object(operand, scope)
    operator = operand.get("operator")
    if not is_truthy(operator):
        return failing(scope.place, 'requires a "operator" key')
    if not is_truthy(operand.get("value")):
        return NOTHING
    convert = CASES.get(operator) if isinstance(operator, str) else None
    value = scope.part(operand["value"], "value")
    place = scope.place

    def applied(value_of: Value) -> Value:
        def run(payload: Json) -> Json:
            value = value_of(payload)
            if not isinstance(value, str):
                return value
            if convert is None:
                raise place.error('operator key should have a value of "lower" or "upper"')
            return convert(value)

        return run

    return folded(Node(applied(value.exact), applied(value.clean), value.holds, value.constant))


def replace(operand: Json, scope: Scope) -> Node:
    """A text with a literal pattern replaced, then a second one. What is no text, number or boolean becomes ''."""
    if not isinstance(operand, Mapping):
        return no_object(operand, scope)
    if not is_truthy(operand.get("pattern")):
        return mistaken(scope, 'requires a "pattern" key')
    if not is_truthy(operand.get("value")):
        return NOTHING
    steps = _steps(operand, scope.place)
    value = scope.part(operand["value"], "value")
    value_of = value.exact

    def run(payload: Json) -> str:
        found = value_of(payload)
        if not steps or not isinstance(found, str | bool | int | float):
            return ""
        text = to_string(found)
        for step in steps:
            text = step(text)
        return text

    return folded(Node(run, run, constant=value.constant))


def _steps(operand: Mapping[str, Json], place: Place) -> list[Callable[[str], str]]:
    """The replacements one after the other; none where an option is of another type, which Segment takes for ''."""
    pattern, replacement, everywhere, fold_case = (
        default if operand.get(key) is None else operand[key]
        for key, default in (("pattern", ""), ("replacement", ""), ("global", True), ("ignorecase", False))
    )
    if not (isinstance(pattern, str) and isinstance(replacement, str)):
        return []
    if not (isinstance(everywhere, bool) and isinstance(fold_case, bool)):
        return []
    steps = [_replacer(place, pattern, replacement, everywhere, fold_case)]
    second, replacement = operand.get("pattern2"), operand.get("replacement2")
    if second and isinstance(second, str) and (replacement is None or isinstance(replacement, str)):
        steps.append(_replacer(place, second, replacement or "", everywhere, fold_case))
    return steps


def _replacer(place: Place, pattern: str, replacement: str, everywhere: bool, fold_case: bool) -> Callable[[str], str]:
    """Finds by UTF-16 rules without the u flag: case is folded letter by letter, never from or to ASCII."""
    for name, text in (("pattern", pattern), ("replacement", replacement)):
        if length(text) > LONGEST_PATTERN:
            message = f'@replace requires a "{name}" less than {LONGEST_PATTERN} characters'
            return lambda _text: _raise(place.error(message))
    live = LIVE.search(replacement) is not None
    if not live and not fold_case:
        return lambda text: text.replace(pattern, replacement, -1 if everywhere else 1)
    wanted = _folded_case(pattern) if fold_case else pattern

    def run(text: str) -> str:
        searched = _folded_case(text) if fold_case else text
        done, size, at = [], 0, 0
        found = searched.find(wanted)
        while found >= 0:
            end = found + len(wanted)
            done += [text[at:found], _expanded(replacement, text, found, end) if live else replacement]
            size += len(done[-2]) + len(done[-1])
            if size > LONGEST_RESULT:
                raise place.error(TOO_LONG)
            at = end
            found = searched.find(wanted, at) if everywhere else -1
        return "".join([*done, text[at:]])

    return run


def _raise(error: MappingError) -> str:
    raise error


def _expanded(replacement: str, text: str, start: int, end: int) -> str:
    meanings = {"$": "$", "&": text[start:end], "`": text[:start], "'": text[end:]}
    return LIVE.sub(lambda found: meanings[found[1]], replacement)


def _folded_case(text: str) -> str:
    return text.upper() if text.isascii() else "".join(map(_folded_letter, text))


@lru_cache(maxsize=4_096)
def _folded_letter(letter: str) -> str:
    upper = letter.upper()
    if len(upper) != 1 or letter > "\uffff" or (letter > "\x7f" >= upper):
        return letter
    return upper
