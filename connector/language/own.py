"""Our own directives, ``@x-…``: what platforms' webhooks need and Segment's kit does not know.

A new one is one entry in ``OWN``. Its operand's values are compiled under our rules: a list is paths to try.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Final

import orjson

from connector import forms
from connector.elements import dumps
from connector.errors import MappingError, PayloadError
from connector.language.javascript import UNDEFINED, Value, to_string
from connector.messages import Json, iso, parse_time

Compile = Callable[[Json, str], Value]
"""What compiles a nested value under our rules: (spec, where)."""

HEADERS: Final = "_headers"
"""Where the door keeps the header fields that a mapping asks for."""

ADDRESS: Final = re.compile(r"<([^<>\s@]++@[^<>\s@]++)>\s*\Z|\A\s*+([^<>\s@,;]++@[^<>\s@,;]++)\s*\Z")
"""What stands last in angle brackets, else all of it."""

NUMBER: Final = re.compile(r"\s*-?[0-9]{1,20}(\.[0-9]{1,20})?\s*")

MAX_ADDRESS: Final = 1_000
"""Characters of an address with its display name; longer ones are not looked at."""

SILENT: Final = ("", "0", "0.0", "false", "no", "n", "off", "none", "null", "n/a", "[]", "{}")
"""What platforms write for "not a machine", as text."""


def _time(spec: Json, where: str, compile_nested: Compile) -> Value:
    """``{value, unit}``: a time as ISO text. unit: seconds or milliseconds since 1970, or text (ISO, or near it)."""
    operand = _operand(spec, where, "@x-time", {"value", "unit"})
    unit = operand["unit"]
    factor = {"seconds": 1000, "milliseconds": 1, "text": 0}.get(unit) if isinstance(unit, str) else None
    if factor is None:
        raise MappingError(f"{where}: @x-time unit: expected seconds, milliseconds or text, found {unit!r}")
    get = _found(operand["value"], where, "@x-time" if "unit" in operand else "@x-hash", compile_nested)

    def convert(payload: Json) -> Json:
        value = get(payload)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return UNDEFINED
        if not factor:
            at = parse_time(value)
            return UNDEFINED if at is None else iso(at)
        if isinstance(value, str) and not NUMBER.fullmatch(value):
            return UNDEFINED
        try:
            return iso(round(float(value) * factor))
        except (ValueError, OverflowError):
            return UNDEFINED

    return convert


def _flag(spec: Json, where: str, compile_nested: Compile) -> Value:
    """Machine flags as the platforms write them (``true``, ``"true"``, ``"1"``, ``"Apple"``, a list of reasons).

    ``[paths]`` or ``{value, true, false}`` with the texts that mean yes and no; without ``true`` whatever is not a no
    is a yes. True if one of the paths says yes, False if one says no, UNDEFINED if all are silent.
    """
    operand = dict(spec) if isinstance(spec, Mapping) and "value" in spec else {"value": spec}
    if set(operand) - {"value", "true", "false"}:
        raise MappingError(f"{where}: @x-flag: expected paths or {{ value, true, false }}, found {spec!r}")
    yes, no = (_texts(operand.get(key), where, f"@x-flag {key}") for key in ("true", "false"))
    value = operand["value"]
    if not isinstance(value, list | Mapping):
        raise MappingError(f"{where}: @x-flag: expected {_meant(value)}, found {value!r}")
    getters = [compile_nested({"@path": path} if isinstance(path, str) else path, where) for path in _listed(value)]

    def read(payload: Json) -> Json:
        said = [to_string(one).strip().lower() for get in getters for one in _said(get(payload))]
        if any((one in yes) if yes else one not in (no or SILENT) for one in said):
            return True
        return False if said else UNDEFINED

    return read


def _text(spec: Json, where: str, compile_nested: Compile) -> Value:
    """Numbers as text, because Segment's Email spec has text ids only."""
    get = _found(spec, where, "@x-text", compile_nested)

    def read(payload: Json) -> Json:
        value = get(payload)
        return to_string(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    return read


def _lower(spec: Json, where: str, compile_nested: Compile) -> Value:
    """Text in small letters, whatever else as it is."""
    get = _found(spec, where, "@x-lower", compile_nested)

    def read(payload: Json) -> Json:
        value = get(payload)
        return value.lower() if isinstance(value, str) else value

    return read


def _address(spec: Json, where: str, compile_nested: Compile) -> Value:
    """The address of ``Jane Doe <jane@x.test>``, as headers write it; a bare one as it is."""
    get = _found(spec, where, "@x-address", compile_nested)

    def read(payload: Json) -> Json:
        value = get(payload)
        found = ADDRESS.search(value) if isinstance(value, str) and len(value) <= MAX_ADDRESS else None
        return found[1] or found[2] if found else UNDEFINED

    return read


def _hash(spec: Json, where: str, compile_nested: Compile) -> Value:
    """``{value, algorithm}``: the hexadecimal sha256, sha1 or md5 of a value's text; nothing of nothing."""
    operand = _operand(spec, where, "@x-hash", {"value", "algorithm"})
    algorithm = operand["algorithm"]
    if algorithm not in ("sha256", "sha1", "md5"):
        raise MappingError(f"{where}: @x-hash algorithm: expected sha256, sha1 or md5, found {algorithm!r}")
    get = _found(operand["value"], where, "@x-time" if "unit" in operand else "@x-hash", compile_nested)

    def read(payload: Json) -> Json:
        value = get(payload)
        if absent(value) or value == "":
            return UNDEFINED
        return hashlib.new(algorithm, _octets(_exactly(value)), usedforsecurity=False).hexdigest()

    return read


def _digest(spec: Json, where: str, compile_nested: Compile) -> Value:
    """One key of several values, for platforms whose events have no id: the sha256 of all of them, in their order."""
    if not isinstance(spec, list) or not spec:
        raise MappingError(f"{where}: @x-digest: expected a list of values, found {spec!r}")
    getters = [compile_nested({"@path": one} if isinstance(one, str) else one, where) for one in spec]

    def read(payload: Json) -> Json:
        values = [None if value is UNDEFINED else value for value in (get(payload) for get in getters)]
        if all(value is None for value in values):
            return UNDEFINED
        text = "\x1f".join("" if value is None else _exactly(value) for value in values)
        return hashlib.sha256(_octets(text)).hexdigest()

    return read


def _json(spec: Json, where: str, compile_nested: Compile) -> Value:
    """``{value, read}``: JSON inside a text, and what to read of it; nothing if it is no JSON."""

    def decode(text: str) -> Json:
        try:
            return orjson.loads(text)
        except (orjson.JSONDecodeError, UnicodeEncodeError):
            return UNDEFINED

    return _decoded(spec, where, "@x-json", decode, compile_nested)


def _form(spec: Json, where: str, compile_nested: Compile) -> Value:
    """``{value, read}``: a form inside a text, and what to read of it."""

    def decode(text: str) -> Json:
        try:
            return forms.parse(text)
        except PayloadError:
            return UNDEFINED

    return _decoded(spec, where, "@x-form", decode, compile_nested)


def _decoded(spec: Json, where: str, name: str, decode: Callable[[str], Json], compile_nested: Compile) -> Value:
    operand = _operand(spec, where, name, {"value", "read"})
    get, inner = (_found(operand[key], where, name, compile_nested) for key in ("value", "read"))

    def read(payload: Json) -> Json:
        value = get(payload)
        value = decode(value) if isinstance(value, str) else value  # some platforms send the object itself
        return UNDEFINED if absent(value) else inner(value)

    return read


def _header(spec: Json, where: str, _compile: Compile) -> Value:
    """A header field of the request, which ``[door] headers`` has to name."""
    if not isinstance(spec, str) or not spec:
        raise MappingError(f"{where}: @x-header: expected the name of a header field, found {spec!r}")
    name = spec.lower()

    def read(payload: Json) -> Json:
        headers = payload.get(HEADERS) if isinstance(payload, Mapping) else None
        return headers.get(name, UNDEFINED) if isinstance(headers, Mapping) else UNDEFINED

    return read


def _named(spec: Json, where: str, compile_nested: Compile) -> Value:
    """``{value, name}``: what a list of ``{"name": …, "value": …}``, or an object, says under a name: tags, headers."""
    operand = _operand(spec, where, "@x-named", {"value", "name"})
    name = operand["name"]
    if not isinstance(name, str):
        raise MappingError(f"{where}: @x-named name: expected text, found {name!r}")
    get = _found(operand["value"], where, "@x-named", compile_nested)

    def read(payload: Json) -> Json:
        value = get(payload)
        if isinstance(value, dict):
            return value.get(name, UNDEFINED)
        members = value if isinstance(value, list) else []
        told = (one.get("value", UNDEFINED) for one in members if isinstance(one, dict) and one.get("name") == name)
        return next(told, UNDEFINED)

    return read


def _several(spec: Json, where: str, compile_nested: Compile) -> Value:
    """Do these paths name more than one thing together? For platforms that do not say who of several acted."""
    if not isinstance(spec, list) or not spec:
        raise MappingError(f"{where}: @x-several: expected a list of paths, found {spec!r}")
    getters = [compile_nested({"@path": one} if isinstance(one, str) else one, where) for one in spec]

    def read(payload: Json) -> Json:
        found = [value for get in getters if not absent(value := get(payload)) and value != ""]
        return sum(len(value) if isinstance(value, list) else 1 for value in found) > 1

    return read


def _found(spec: Json, where: str, name: str, compile_nested: Compile) -> Value:
    """A value that is looked up: a bare text would be the same for every event."""
    if not isinstance(spec, list | Mapping):
        raise MappingError(f"{where}: {name}: expected {_meant(spec)}, found {spec!r}")
    return compile_nested(spec, where)


def _meant(spec: Json) -> str:
    return f'paths to try, such as ["{spec}"], or a directive' if isinstance(spec, str) else "paths or a directive"


def absent(value: Json) -> bool:
    """Is there nothing, undefined or null?"""
    return value is None or value is UNDEFINED


def _said(value: Json) -> list[Json]:
    """What a value says of machines: each member of a list for itself, an object yes by being there, null nothing."""
    if isinstance(value, list):
        return [one for one in value if not absent(one)]
    if isinstance(value, dict):
        return ["yes"] if value else []
    return [] if absent(value) else [value]


def _exactly(value: Json) -> str:
    """A value as text that is another for every other value."""
    return dumps(value) if isinstance(value, list | dict) else to_string(value)


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _texts(value: Json, where: str, key: str) -> frozenset[str]:
    if value is not None and not isinstance(value, list):
        raise MappingError(f"{where}: {key}: expected a list of texts, found {value!r}")
    return frozenset(to_string(one).strip().lower() for one in value or ())


def _operand(spec: Json, where: str, name: str, keys: set[str]) -> Mapping[str, Json]:
    if not isinstance(spec, Mapping) or set(spec) != keys:
        raise MappingError(f"{where}: {name}: expected {{ {', '.join(sorted(keys))} }}, found {spec!r}")
    return spec


OWN: Final[Mapping[str, Callable[[Json, str, Compile], Value]]] = {
    "@x-time": _time,
    "@x-flag": _flag,
    "@x-text": _text,
    "@x-lower": _lower,
    "@x-address": _address,
    "@x-hash": _hash,
    "@x-digest": _digest,
    "@x-json": _json,
    "@x-form": _form,
    "@x-header": _header,
    "@x-named": _named,
    "@x-several": _several,
}
