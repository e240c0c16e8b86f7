"""The mapping language: what a value in a mapping file may be, compiled once into plain functions.

A value is a list of paths (the first that has a value wins), a directive, or a literal. Directives with ``@`` are
Segment's mapping-kit, with its semantics; ``@x-…`` are our own additions. A new one is one entry in ``DIRECTIVES``.

Source: https://github.com/segmentio/action-destinations/tree/main/packages/core/src/mapping-kit
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from connector.errors import MappingError
from connector.messages import Json, iso

Value = Callable[[Json], Json]
"""A compiled value: payload in, value out, None for nothing there."""


def alternatives(spec: Json, where: str) -> tuple[Value, ...]:
    """Each path of a list by itself, for callers that want to judge the values one after the other."""
    return (
        tuple(compile_value([path], where) for path in spec)
        if isinstance(spec, list)
        else (compile_value(spec, where),)
    )


def compile_value(spec: Json, where: str) -> Value:
    """The function a spec describes: a list of paths, a directive, or a literal.

    Raises: MappingError at compile time; the function itself never raises.
    """
    if isinstance(spec, list):
        if not spec or not all(isinstance(path, str) for path in spec):
            raise MappingError(f"{where}: expected a list of paths, found {spec!r}")
        getters = [_path(path, where) for path in spec]
        return lambda payload: next((value for get in getters if (value := get(payload)) not in (None, "")), None)
    if isinstance(spec, Mapping):
        return _directive(spec, where)
    return lambda _payload: spec


def _directive(spec: Mapping[str, Json], where: str) -> Value:
    names = [key for key in spec if key.startswith("@")]
    if len(names) != 1 or len(spec) != 1:
        raise MappingError(f"{where}: expected one directive such as @path, found the keys {', '.join(spec) or 'none'}")
    make = DIRECTIVES.get(names[0])
    if make is None:
        raise MappingError(f"{where}: {names[0]} is unknown; this version knows {', '.join(DIRECTIVES)}")
    return make(spec[names[0]], where)


def _path(spec: Json, where: str) -> Value:
    """``$.a.b[0].c``, as Segment's ``get``: a missing step is nothing, a falsy one is returned as it is."""
    if not isinstance(spec, str):
        raise MappingError(f"{where}: @path: expected text, found {spec!r}")
    steps = re.findall(r"[^.\[\]]+", spec.removeprefix("$.").removeprefix("$").replace("['", "[").replace("']", "]"))

    def get(payload: Json) -> Json:
        for step in steps:
            if not payload and not isinstance(payload, Mapping | list):  # empty ones are true in JavaScript
                return payload
            if isinstance(payload, Mapping):
                payload = payload.get(step)
            elif isinstance(payload, list) and step.isdecimal():
                payload = payload[int(step)] if int(step) < len(payload) else None
            else:
                return None
        return payload

    return get


def _template(spec: Json, where: str) -> Value:
    """``{{path}}`` inside text; what is missing becomes nothing."""
    if not isinstance(spec, str):
        raise MappingError(f"{where}: @template: expected text, found {spec!r}")
    parts = re.split(r"\{\{\{?\s*([^{}]+?)\s*\}?\}\}", spec)
    getters = [_path(part, where) if odd % 2 else part for odd, part in enumerate(parts)]

    def fill(payload: Json) -> str:
        return "".join(one if isinstance(one, str) else _as_text(one(payload)) for one in getters)

    return fill


def _as_text(value: Json) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _literal(spec: Json, _where: str) -> Value:
    return lambda _payload: spec


def _time(spec: Json, where: str) -> Value:
    """``{value = […], unit = "seconds" | "milliseconds"}``: a number of those since 1970 as ISO text."""
    if not isinstance(spec, Mapping) or set(spec) != {"value", "unit"}:
        raise MappingError(f"{where}: @x-time: expected {{ value, unit }}, found {spec!r}")
    factor = {"seconds": 1000, "milliseconds": 1}.get(spec["unit"])
    if factor is None:
        raise MappingError(f"{where}: @x-time unit: expected seconds or milliseconds, found {spec['unit']!r}")
    get = compile_value(spec["value"], where)

    def convert(payload: Json) -> str | None:
        value = get(payload)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            return iso(round(float(value) * factor))
        except (ValueError, OverflowError):
            return None

    return convert


def _flag(spec: Json, where: str) -> Value:
    """Machine flags as the vendors write them (``true``, ``"true"``, ``"1"``, ``"Apple"``).

    True if any of the paths says so, False if one denies it, None if all are silent.
    """
    getters = (
        [compile_value([path], where) for path in spec] if isinstance(spec, list) else [compile_value(spec, where)]
    )

    def read(payload: Json) -> bool | None:
        said = [value for get in getters if (value := get(payload)) is not None]
        return any(_is_true(value) for value in said) if said else None

    return read


def _is_true(value: Json) -> bool:
    return str(value).strip().lower() not in ("", "0", "0.0", "false", "no", "none", "null")


def _text(spec: Json, where: str) -> Value:
    """Numbers as text, because Segment's Email spec has text ids only."""
    get = compile_value(spec, where)

    def read(payload: Json) -> Json:
        value = get(payload)
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    return read


DIRECTIVES: Final[Mapping[str, Callable[[Json, str], Value]]] = {
    "@path": _path,
    "@template": _template,
    "@literal": _literal,
    "@x-time": _time,
    "@x-flag": _flag,
    "@x-text": _text,
}


def apply_fields(fields: Mapping[str, Value], payload: Json) -> dict[str, Json]:
    """The nested object that dotted keys describe, without what has no value."""
    result: dict[str, Json] = {}
    for key, value_of in fields.items():
        value = value_of(payload)
        if value is None or value == "":
            continue
        target = result
        *parents, last = key.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
    return result
