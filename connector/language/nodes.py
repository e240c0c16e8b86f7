"""What compiling makes of a mapping's parts, and how parts become objects and arrays.

Segment resolves a mapping with ``undefined`` in it and removes that at the end. Some directives see it in between
(``@merge``: an undefined member overwrites), most do not; so a node has both functions, and nothing has to be walked
twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from connector.errors import MappingError
from connector.language.javascript import UNDEFINED, Value, type_of
from connector.messages import Json

CLEAN: Final = 0
IN_OBJECTS: Final = 1
IN_LISTS: Final = 2

LONGEST_RESULT: Final = 1_000_000
"""Characters that a directive may make of a payload where it writes parts of it again and again."""


class Node(NamedTuple):
    """A compiled part.

    exact: the value as Segment resolves it. clean: without UNDEFINED inside it, for what leaves the mapping.
    holds: where exact may have UNDEFINED below its top (CLEAN, IN_OBJECTS, IN_LISTS as well).
    constant: does it say the same of every payload?
    """

    exact: Value
    clean: Value
    holds: int = CLEAN
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which mapping: what errors begin with."""

    where: str
    path: tuple[str, ...] = ()

    def at(self, *keys: str) -> Place:
        return replace(self, path=(*self.path, *keys))

    def where_and_path(self) -> str:
        return f"{self.where}{': ' if self.where else ''}/{'/'.join(self.path)}" if self.path else self.where or "/"

    def says(self, sentence: str) -> str:
        return f"{self.where_and_path()}{': ' if self.where and not self.path else ' '}{sentence}"

    def error(self, sentence: str) -> MappingError:
        return MappingError(self.says(sentence))


@dataclass(frozen=True, slots=True)
class Scope:
    """What a directive is compiled with.

    compile_part: the compiler of nested parts. mistakes_in: Segment's validation, which it does once more for what
    @transform applies. holds: where the payload may have UNDEFINED; JSON has none. certain: is this part resolved for
    every event? mistakes: of the whole mapping, what fails for every event.
    """

    place: Place
    compile_part: Callable[[Json, Scope], Node]
    mistakes_in: Callable[[Json, Place], list[str]]
    holds: int = CLEAN
    certain: bool = True
    mistakes: list[str] = field(default_factory=list)

    def inside(self, name: str) -> Scope:
        return replace(self, place=self.place.at(name))

    def perhaps(self) -> Scope:
        """The same for a part that some events only resolve."""
        return replace(self, certain=False)

    def member(self, operand: Mapping[str, Json], key: str) -> Node:
        """A member of an operand, undefined if it is not there."""
        return self.part(operand[key], key) if key in operand else NOTHING

    def part(self, spec: Json, *keys: str, holds: int | None = None) -> Node:
        inner = replace(self, place=self.place.at(*keys), holds=self.holds if holds is None else holds)
        return self.compile_part(spec, inner)


def finished(exact: Value, holds: int = CLEAN, constant: bool = False) -> Node:
    """A node whose clean value is the exact one, walked if it may hold UNDEFINED."""
    return Node(exact, (lambda payload: cleaned(exact(payload))) if holds else exact, holds, constant)


def constant(value: Json) -> Node:
    """A node that says the same always; objects and arrays anew each time, for a caller may change them."""
    holds = _holds(value)
    if not isinstance(value, dict | list):
        return Node(lambda _payload: value, lambda _payload: value, holds, True)
    clean = cleaned(value)
    return Node(lambda _payload: copied(value), lambda _payload: copied(clean), holds, True)


def folded(node: Node) -> Node:
    """The node itself, or the constant that it is. What raises goes on to raise when it is asked."""
    if not node.constant:
        return node
    try:
        return constant(node.exact({}))
    except MappingError:
        return node._replace(constant=False)


def failing(place: Place, sentence: str) -> Node:
    """A directive that raises whatever the payload is."""

    def fail(_payload: Json) -> Json:
        raise place.error(sentence)

    return Node(fail, fail)


def mistaken(scope: Scope, sentence: str) -> Node:
    """A part that Segment's validation passes over and its evaluation fails on: said at once if it always would."""
    if scope.certain:
        scope.mistakes.append(scope.place.says(sentence))
    return failing(scope.place, sentence)


def no_object(operand: Json, scope: Scope) -> Node:
    """A directive whose operand has to be an object and is none."""
    return mistaken(scope, f"should be an object but it is {a_kind(type_of(operand))}")


def a_kind(kind: str) -> str:
    """A type with its article, as Segment puts it: an object, a null."""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def an_object(members: dict[str, Node]) -> Node:
    """An object whose members are resolved."""
    exact_items = [(key, node.exact) for key, node in members.items()]
    clean_items = [(key, node.clean) for key, node in members.items()]

    def exact(payload: Json) -> Json:
        return {key: value_of(payload) for key, value_of in exact_items}

    def clean(payload: Json) -> Json:
        result = {}
        for key, value_of in clean_items:
            value = value_of(payload)
            if value is not UNDEFINED:
                result[key] = value
        return result

    holds = max([IN_OBJECTS, *(node.holds for node in members.values())])
    return folded(Node(exact, clean, holds, all(node.constant for node in members.values())))


def an_array(members: Sequence[Node]) -> Node:
    """An array whose members are resolved; what is undefined becomes null at the end."""
    exact_items = [node.exact for node in members]
    clean_items = [node.clean for node in members]

    def exact(payload: Json) -> Json:
        return [value_of(payload) for value_of in exact_items]

    def clean(payload: Json) -> Json:
        values = [value_of(payload) for value_of in clean_items]
        return [None if value is UNDEFINED else value for value in values]

    return folded(Node(exact, clean, IN_LISTS, all(node.constant for node in members)))


def cleaned(value: Json) -> Json:
    """A copy without undefined members; null in the place of undefined ones of arrays.

    Raises: MappingError if it is nested too deeply.
    """
    return deep(_cleaned, value)


def _cleaned(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _cleaned(one) for key, one in value.items() if one is not UNDEFINED}
    if isinstance(value, list):
        return [None if one is UNDEFINED else _cleaned(one) for one in value]
    return value


def without_undefined_members(value: Json) -> Json:
    """A copy as Segment hands it from one stage to the next: arrays keep what is undefined."""
    if isinstance(value, dict):
        return {key: without_undefined_members(one) for key, one in value.items() if one is not UNDEFINED}
    return [without_undefined_members(one) for one in value] if isinstance(value, list) else value


def copied(value: Json) -> Json:
    """A copy that shares no object and no array."""
    if isinstance(value, dict):
        return {key: copied(one) for key, one in value.items()}
    return [copied(one) for one in value] if isinstance(value, list) else value


def deep(walk: Callable[..., Json], *values: Any) -> Json:
    """``walk(*values)``.

    Raises: MappingError where it would go deeper than we can.
    """
    try:
        return walk(*values)
    except RecursionError:
        raise MappingError("a value is nested too deeply to be mapped") from None


def _holds(value: Json) -> int:
    if isinstance(value, dict):
        below = max((_holds(one) for one in value.values()), default=CLEAN)
        return max(below, IN_OBJECTS if any(one is UNDEFINED for one in value.values()) else CLEAN)
    if isinstance(value, list):
        return IN_LISTS if any(one is UNDEFINED for one in value) else max(map(_holds, value), default=CLEAN)
    return CLEAN


NOTHING: Final = constant(UNDEFINED)
"""The part of a mapping that is not there."""
