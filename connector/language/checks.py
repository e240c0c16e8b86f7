"""What is wrong with a mapping, in Segment's words, all of it at once.

As there, members of arrays are not looked at, nor those of objects in @literal and @excludeWhenNull; what fails in
them for every event is found by compiling. In one thing it is stricter: Liquid templates are read at once.

Source: https://github.com/segmentio/action-destinations/blob/main/packages/core/src/mapping-kit/validate.ts
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from connector.errors import MappingError
from connector.language import kit, liquid
from connector.language.javascript import UNDEFINED, length, type_of
from connector.language.nodes import Place, a_kind
from connector.language.text import LONGEST_PATTERN
from connector.messages import Json


@dataclass(frozen=True, slots=True)
class Checks:
    """One look through a mapping.

    own: our directives, each with what compiles it and so finds its mistakes.
    """

    own: Mapping[str, Callable[[Json, str], object]]
    mistakes: list[str] = field(default_factory=list)

    def value(self, spec: Json, place: Place) -> None:
        """Any value: a directive, or an object of values; others are not looked at."""
        kind = kind_of(spec)
        if kind == "directive":
            self.directive(spec, place)
        elif kind == "object":
            for key, one in spec.items():
                self.value(one, place.at(key))

    def directive(self, spec: Mapping[str, Json], place: Place) -> None:
        names = [key for key in spec if key.startswith("@")]
        others = [key for key in spec if not key.startswith("@") and key != "_metadata"]
        if len(names) > 1 or others:
            count = len(spec) if others and len(names) == 1 else len(names)
            self.says(place, f"should only have one @-prefixed key but it has {count} keys ({', '.join(spec)})")
            return
        name = names[0]
        if name in self.own:
            try:
                self.own[name](spec[name], place.at(name).where_and_path())
            except MappingError as error:
                self.mistakes.extend(error.mistakes)
        elif name in DIRECTIVES:
            DIRECTIVES[name](self, spec[name], place.at(name))
        else:
            self.says(place, kit.unknown(name, self.own))

    def says(self, place: Place, sentence: str) -> None:
        self.mistakes.append(place.says(sentence))

    def expect(self, spec: Json, place: Place, *kinds: str, words: str) -> bool:
        """Is it of one of the kinds? Says that it is not; a directive is looked into."""
        kind = kind_of(spec)
        if kind not in kinds:
            self.says(place, f"should be {words} but it is {a_kind(kind)}")
        elif kind == "directive":
            self.directive(spec, place)
        return kind in kinds


Check = Callable[[Checks, Json, Place], None]


def mistakes_in(spec: Json, place: Place, own: Mapping[str, Callable[[Json, str], object]]) -> list[str]:
    """Every mistake in a value, one sentence each."""
    checks = Checks(own)
    checks.value(spec, place)
    return checks.mistakes


def kind_of(spec: Json) -> str:
    """The type of a value, ``directive`` for an object with a key that begins with ``@``, whatever else it has."""
    is_directive = isinstance(spec, Mapping) and any(key.startswith("@") for key in spec)
    return "directive" if is_directive else type_of(spec)


def text(checks: Checks, spec: Json, place: Place) -> None:
    checks.expect(spec, place, "string", words="a string")


def truth(checks: Checks, spec: Json, place: Place) -> None:
    checks.expect(spec, place, "boolean", words="a boolean")


def array(checks: Checks, spec: Json, place: Place) -> None:
    checks.expect(spec, place, "array", words="an array")


def text_or_directive(checks: Checks, spec: Json, place: Place) -> None:
    checks.expect(spec, place, "string", "directive", words="a string or a mapping directive")


def object_or_directive(checks: Checks, spec: Json, place: Place) -> None:
    fits = checks.expect(spec, place, "object", "directive", words="a object or a mapping directive")
    if fits and kind_of(spec) == "object":
        checks.value(spec, place)


def anything(checks: Checks, spec: Json, place: Place) -> None:
    checks.value(spec, place)


def directive_or_raw(checks: Checks, spec: Json, place: Place) -> None:
    """Anything, and not looked into unless it is a directive."""
    if kind_of(spec) == "directive":
        checks.directive(spec, place)


def text_of(shortest: int, longest: int) -> Check:
    def check(checks: Checks, spec: Json, place: Place) -> None:
        if not checks.expect(spec, place, "string", words="a string"):
            return
        if length(spec) < shortest:
            checks.says(place, f"should be a string of length {shortest} or greater")
        if length(spec) > longest:
            checks.says(place, f"should be a string of length {longest} or less")

    return check


def one_of(*allowed: str) -> Check:
    """One of some words in any case, although only lower case does what it says."""

    def check(checks: Checks, spec: Json, place: Place) -> None:
        if checks.expect(spec, place, "string", words="a string") and spec.lower() not in allowed:
            checks.says(place, f"should be one of {', '.join(allowed)} but it is {json.dumps(spec)}")

    return check


def members(required: Mapping[str, Check], optional: Mapping[str, Check]) -> Check:
    """An object with these members; others are looked at as any value is."""

    def check(checks: Checks, spec: Json, place: Place) -> None:
        if (kind := kind_of(spec)) != "object":
            checks.says(place, f"should be an object but it is {a_kind(kind)}")
        else:
            for key in required:
                if key not in spec:
                    checks.says(place, f"should have field {json.dumps(key)} but it doesn't")
            known = {**required, **optional}
            for key, one in spec.items():
                known.get(key, anything)(checks, one, place.at(key))

    return check


def _array_path(checks: Checks, spec: Json, place: Place) -> None:
    if not checks.expect(spec, place, "array", words="an array"):
        return
    text_or_directive(checks, spec[0] if spec else UNDEFINED, place.at("0"))
    if len(spec) > 1:
        checks.value(spec[1], place.at("1"))


def _merged(checks: Checks, spec: Json, place: Place) -> None:
    if checks.expect(spec, place, "array", words="an array"):
        for at, one in enumerate(spec):
            object_or_directive(checks, one, place.at(str(at)))


def _liquid(checks: Checks, spec: Json, place: Place) -> None:
    if checks.expect(spec, place, "string", words="a string"):
        try:
            liquid.compile_liquid(spec, place)
        except MappingError as error:
            checks.mistakes.extend(error.mistakes)


DIRECTIVES: Final[Mapping[str, Check]] = {
    "@path": text_or_directive,
    "@template": text_or_directive,
    "@literal": directive_or_raw,
    "@excludeWhenNull": directive_or_raw,
    "@if": members({}, {"exists": anything, "then": anything, "else": anything}),
    "@case": members({}, {"operator": text, "value": text_or_directive}),
    "@replace": members(
        {"pattern": text_of(1, LONGEST_PATTERN), "value": text_or_directive},
        {"replacement": text_of(0, LONGEST_PATTERN), "ignorecase": truth, "global": truth},
    ),
    "@merge": members({"objects": _merged}, {"direction": one_of("left", "right")}),
    "@arrayPath": _array_path,
    "@flatten": members({"value": anything}, {"separator": text}),
    "@json": members({"value": anything, "mode": one_of("encode", "decode")}, {}),
    "@transform": members({"apply": object_or_directive, "mapping": object_or_directive}, {}),
    "@liquid": _liquid,
}
