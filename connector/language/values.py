"""Our rules around Segment's: lists of paths, our own directives, fields with dotted names, whole mappings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from connector.errors import MappingError
from connector.language import checks, kit
from connector.language.javascript import UNDEFINED, Value, type_of
from connector.language.nodes import CLEAN, NOTHING, Node, Place, Scope, a_kind, cleaned, mistaken
from connector.language.own import OWN
from connector.language.paths import getter, without_prefix
from connector.messages import Json


def compile_value(spec: Json, where: str) -> Value:
    """The function a value of ours describes: a list to try, a directive, an object of values, or a literal.

    What a list's members find wins if it is neither undefined, null nor ''. The function gives UNDEFINED for nothing.

    Raises: MappingError with all mistakes; the function raises it for what Segment's would throw at.
    """
    if not isinstance(spec, list):
        return _kit_value(spec, Place(where))
    if not spec or not all(isinstance(one, str | Mapping) for one in spec):
        raise MappingError(f"{where}: expected a list of paths or directives, found {spec!r}")
    mistakes: list[str] = []
    values: list[Value] = []
    for one in spec:
        try:
            values.append(_path(one) if isinstance(one, str) else compile_value(one, where))
        except MappingError as error:
            mistakes += error.mistakes
    if mistakes:
        raise MappingError(*mistakes)
    return _first_with_value(values)


def alternatives(spec: Json, where: str) -> tuple[Value, ...]:
    """Each member of a list by itself, for callers that want to judge the values one after the other."""
    if not isinstance(spec, list):
        return (compile_value(spec, where),)
    compile_value(spec, where)  # says all mistakes together
    return tuple(compile_value([one], where) for one in spec)


def compile_mapping(mapping: Mapping[str, Any], where: str = "") -> Callable[[Mapping[str, Any]], Any]:
    """What Segment's ``transform(mapping, data)`` does, compiled once: payload in, what is sent out.

    Undefined members are gone, null stays; undefined members of arrays are null. UNDEFINED if nothing is left at all,
    as a mapping that is one directive may say.

    Raises: MappingError with all mistakes; the function raises it for what Segment's would throw at.
    """
    if not isinstance(mapping, Mapping):
        raise MappingError(Place(where).says(f"should be an object but it is {a_kind(type_of(mapping))}"))
    try:
        whole = kit.with_root(mapping)
    except MappingError as error:
        raise Place(where).error(str(error)) from None
    value = _kit_value(whole, Place(where))

    def transform_one(data: Mapping[str, Any]) -> Json:
        if not isinstance(data, dict):
            if not isinstance(data, Mapping):
                raise Place(where).error(f"data must be an object, got {type_of(data)}")
            data = dict(data)
        return value(data)

    return transform_one


def apply_fields(fields: Mapping[str, Value], payload: Json) -> dict[str, Json]:
    """The nested object that dotted keys describe, without what has no value; the payload is not touched."""
    result: dict[str, Json] = {}
    made = {id(result)}
    for key, value_of in fields.items():
        value = value_of(payload)
        if value is UNDEFINED or value is None or value == "":
            continue
        target = result
        *parents, last = key.split(".")
        for parent in parents:
            inner: Json = target.get(parent)
            if id(inner) not in made:  # nothing yet, or what another field took from the payload
                inner = target[parent] = dict(inner) if isinstance(inner, dict) else {}
                made.add(id(inner))
            target = inner
        target[last] = value
    return result


def _kit_value(spec: Json, place: Place) -> Value:
    try:
        scope = Scope(place, _part, _mistakes_in)
        if mistakes := _mistakes_in(spec, place):
            raise MappingError(*mistakes)
        node = _part(spec, scope)
        if scope.mistakes:
            raise MappingError(*dict.fromkeys(scope.mistakes))
        return node.clean
    except RecursionError:
        raise place.error("is nested too deeply") from None


def _mistakes_in(spec: Json, place: Place) -> list[str]:
    return checks.mistakes_in(spec, place, {name: partial(_own_value, name) for name in OWN})


def _own_value(name: str, operand: Json, where: str) -> Value:
    return OWN[name](operand, where, compile_value)


def _part(spec: Json, scope: Scope) -> Node:
    name = kit.directive_of(spec)
    if name is None or name in kit.KIT:
        return kit.part(spec, scope)
    if name not in OWN:
        return mistaken(scope, kit.unknown(name, OWN))
    try:
        value = _own_value(name, spec[name], scope.place.at(name).where_and_path())
    except MappingError as error:
        scope.mistakes.extend(error.mistakes)
        return NOTHING
    if scope.holds == CLEAN:
        return Node(value, value)
    return Node(value, lambda payload: cleaned(value(payload)), scope.holds)


def _path(path: str) -> Value:
    return getter(without_prefix(path))


def _first_with_value(values: list[Value]) -> Value:
    if len(values) == 1:
        return _unless_empty(values[0])

    def find(payload: Json) -> Json:
        for value_of in values:
            value = value_of(payload)
            if value is not None and value is not UNDEFINED and value != "":
                return value
        return UNDEFINED

    return find


def _unless_empty(value_of: Value) -> Value:
    def find(payload: Json) -> Json:
        value = value_of(payload)
        return UNDEFINED if value is None or value == "" else value

    return find
