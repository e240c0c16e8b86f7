"""Segment's directives, each compiled once into closures. Every ``@`` directive is one entry in ``KIT``.

``checks`` has refused what Segment's validation refuses; that does not look into arrays and literals, so what comes
here may be anything. Inside these directives a string is a literal and a list an array, as at Segment;
sentences of errors are Segment's.

Source: https://github.com/segmentio/action-destinations/blob/main/packages/core/src/mapping-kit/index.ts
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from connector.errors import MappingError
from connector.language import liquid, objects, text
from connector.language.javascript import UNDEFINED, Value, is_blank, is_truthy, type_of
from connector.language.nodes import (
    CLEAN,
    IN_LISTS,
    NOTHING,
    Node,
    Scope,
    a_kind,
    an_array,
    an_object,
    constant,
    deep,
    failing,
    finished,
    folded,
    mistaken,
    no_object,
    without_undefined_members,
)
from connector.language.paths import find, getter, without_prefix
from connector.messages import Json

JSON_TYPES: Final = ("object", "array", "boolean", "string", "number", "null", "undefined")

ROOT: Final = "__segment_internal_directive"
"""At the top of a mapping: a directive that takes all the other members as its ``mapping``."""


def directive_of(spec: Json) -> str | None:
    """The first key with ``@``, None if the value is no directive: an object with other keys is a raw object."""
    if not isinstance(spec, Mapping) or any(key[:1] != "@" and key != "_metadata" for key in spec):
        return None
    return next((key for key in spec if key != "_metadata"), None)


def part(spec: Json, scope: Scope) -> Node:
    """A part of a mapping by Segment's rules: directive, object, array or literal."""
    name = directive_of(spec)
    if name is not None:
        return KIT[name](spec[name], scope.inside(name))
    if isinstance(spec, Mapping):
        return an_object({key: scope.part(one, key) for key, one in spec.items()})
    if isinstance(spec, list):
        return an_array([scope.part(one, str(at)) for at, one in enumerate(spec)])
    if (kind := type_of(spec)) not in JSON_TYPES:  # TOML has dates
        scope.mistakes.append(
            scope.place.says(f"should be a mapping directive or a JSON value but it is {a_kind(kind)}")
        )
    return constant(spec)


def with_root(mapping: Mapping[str, Json]) -> Mapping[str, Json]:
    """The mapping that is meant where a root directive wraps the others.

    Raises: MappingError if the root is no single directive with an object.
    """
    if ROOT not in mapping:
        return mapping
    root = mapping[ROOT]
    if isinstance(root, Mapping | list | str) and len(root) > 1:
        raise MappingError(f"{ROOT}: the root mapping must only have a single directive object")
    name = next(iter(root), None) if isinstance(root, Mapping) else None
    if name is None or not isinstance(root[name], Mapping | list):
        raise MappingError(f"{ROOT}: the root directive must be an object")
    if isinstance(root[name], list):  # in JavaScript an array may have a member "mapping" too, which nobody reads
        return {name: root[name]}
    return {name: {**root[name], "mapping": {key: one for key, one in mapping.items() if key != ROOT}}}


def _path(operand: Json, scope: Scope) -> Node:
    """The value at a path; the path may come from a directive."""
    if isinstance(operand, str):
        return finished(getter(without_prefix(operand)), scope.holds)
    if not isinstance(operand, Mapping):
        return text.no_text(operand, scope)
    part_of = scope.part(operand)
    if part_of.constant and isinstance(path := part_of.exact({}), str):
        return finished(getter(without_prefix(path)), scope.holds)
    path_of = text.text_operand("@path", part_of, scope.place)
    return finished(lambda payload: find(payload, without_prefix(path_of(payload))), scope.holds)


def _if(operand: Json, scope: Scope) -> Node:
    """``exists`` asks for anything but undefined and null; ``blank`` takes ``then`` for what is NOT blank."""
    if not isinstance(operand, Mapping):
        return no_object(operand, scope)
    if not is_truthy(operand.get("exists")) and not is_truthy(operand.get("blank")):
        return failing(scope.place, 'requires an "exists" key or a "blank" key')
    asks_exists = "exists" in operand
    asked = scope.part(operand["exists" if asks_exists else "blank"], "exists" if asks_exists else "blank")
    then = scope.perhaps().member(operand, "then")
    otherwise = scope.perhaps().member(operand, "else") if is_truthy(operand.get("else")) else NOTHING
    same = asks_exists and then.holds == CLEAN and _is_same_path(operand["exists"], operand.get("then"))

    def choice(yes: Value, no: Value) -> Value:
        if same:
            return _first_of(yes, no)
        return _if_exists(asked.exact, yes, no) if asks_exists else _unless_blank(asked.exact, yes, no)

    return folded(
        Node(
            choice(then.exact, otherwise.exact),
            choice(then.clean, otherwise.clean),
            max(then.holds, otherwise.holds),
            asked.constant and then.constant and otherwise.constant,
        )
    )


def _is_same_path(one: Json, other: Json) -> bool:
    return directive_of(one) == "@path" and one == other and isinstance(one["@path"], str)


def _first_of(get: Value, otherwise: Value) -> Value:
    def run(payload: Json) -> Json:
        value = get(payload)
        return otherwise(payload) if value is None or value is UNDEFINED else value

    return run


def _if_exists(asked: Value, yes: Value, no: Value) -> Value:
    def run(payload: Json) -> Json:
        value = asked(payload)
        return no(payload) if value is None or value is UNDEFINED else yes(payload)

    return run


def _unless_blank(asked: Value, yes: Value, no: Value) -> Value:
    return lambda payload: no(payload) if deep(is_blank, asked(payload)) else yes(payload)


def _array_path(operand: Json, scope: Scope) -> Node:
    """The array at a path, an object made an array of one, each item resolved by a shape."""
    if not isinstance(operand, list):
        return mistaken(scope, f"should be an array but it is {a_kind(type_of(operand))}")
    path = operand[0] if operand else UNDEFINED
    root = finished(getter(without_prefix(path)), scope.holds) if isinstance(path, str) else scope.part(path, "0")
    shape = operand[1] if len(operand) > 1 else None
    if not isinstance(shape, Mapping) or not shape:
        return root
    item = scope.perhaps().part(shape, "1", holds=root.holds)
    root_of, item_of, constant_root = root.exact, item.exact, root.constant

    def shaped(payload: Json) -> Json:
        found = root_of(payload)
        if isinstance(found, dict):
            return [item_of(found)]
        return [item_of(one) for one in found] if isinstance(found, list) else found

    holds = max(IN_LISTS if directive_of(shape) else item.holds, root.holds)
    return folded(finished(shaped, holds, constant_root))


def _transform(operand: Json, scope: Scope) -> Node:
    """Two stages: ``mapping`` is resolved on what ``apply`` makes of the payload."""
    if not isinstance(operand, Mapping):
        return no_object(operand, scope)
    for key in ("mapping", "apply"):
        if not is_truthy(operand.get(key)):
            return mistaken(scope, f'requires a "{key}" key')
    try:
        applied = _validated(operand["apply"], scope)
    except MappingError as error:
        if scope.certain:
            scope.mistakes.extend(error.mistakes)
        return failing(scope.place, f'cannot use "apply": {"; ".join(error.mistakes)}')
    first = scope.part(applied, "apply")
    undefined_in_lists = first.holds == IN_LISTS
    second = scope.part(operand["mapping"], "mapping", holds=IN_LISTS if undefined_in_lists else CLEAN)
    place, prepare = scope.place, first.exact if undefined_in_lists else first.clean

    def staged(finish: Value) -> Value:
        def run(payload: Json) -> Json:
            data = {} if payload is UNDEFINED else payload
            if not isinstance(data, dict):
                raise place.error(f"data must be an object, got {type_of(data)}")
            made = prepare(data)
            return finish(deep(without_undefined_members, made) if undefined_in_lists else made)

        return run

    return Node(staged(second.exact), staged(second.clean), second.holds)


def _validated(apply: Json, scope: Scope) -> Json:
    """What is applied, as a mapping of its own: Segment validates it at this point, wherever it stands."""
    place = scope.place.at("apply")
    if not isinstance(apply, Mapping):
        raise place.error(f"should be an object but it is {a_kind(type_of(apply))}")
    try:
        whole = with_root(apply)
    except MappingError as error:
        raise place.error(str(error)) from None
    if mistakes := scope.mistakes_in(whole, place):
        raise MappingError(*mistakes)
    return whole


def _literal(operand: Json, scope: Scope) -> Node:
    return scope.part(operand)


def _liquid(operand: Json, scope: Scope) -> Node:
    if not isinstance(operand, str):
        return mistaken(scope, f"should be a string but it is {a_kind(type_of(operand))}")
    render = liquid.compile_liquid(operand, scope.place)
    return Node(render, render)


KIT: Final[Mapping[str, Callable[..., Node]]] = {
    "@path": _path,
    "@template": text.template,
    "@literal": _literal,
    "@if": _if,
    "@case": text.case,
    "@replace": text.replace,
    "@merge": objects.merge,
    "@arrayPath": _array_path,
    "@flatten": objects.flatten,
    "@json": objects.in_json,
    "@transform": _transform,
    "@excludeWhenNull": objects.exclude_when_null,
    "@liquid": _liquid,
}


def unknown(name: str, extra: Iterable[str]) -> str:
    """What is said of a directive that is none, with the names of all that are."""
    return f"has an invalid directive: {name} is unknown; this version knows {', '.join([*KIT, *extra])}"
