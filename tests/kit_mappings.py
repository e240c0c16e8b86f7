"""Random mappings of Segment's kit that its validation lets through, and payloads to run them on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from connector.language import compile_mapping

Draw = Callable[[st.SearchStrategy[Any]], Any]

REACHING = ["$.a", "$.b", "$.1", "$.é", "$.x y", "$.a.b", "$.a.b.c", "$.a.length", "a[0]", "a.0.b", "b[1][0]", "['a']"]
ODD = [
    "",
    "$.",
    ".",
    "..",
    "$",
    "$.a$.b",
    "a.b.",
    "b..a",
    "a[b]",
    "a]b",
    "c.0",
    "c.00",
    "c.10",
    "$.a['x.y']",
    "$.a['']",
]
PLAIN = ["", " ", "a", "A", "ß", "😀a", "\n", "\ufeff", "\u017f\u212a", "\u0130", "$.a", "lower"]
TEMPLATES = [
    "{{a}}",
    "{{ a.b }}",
    "{{{a}}}",
    "{{.}}",
    "{{ }}",
    "{{",
    "}}",
    "{{a}",
    "a{{b}}c{{a}}",
    "{{{c}}} {{b}}",
    "{{{{a}}}}",
]
ENCODED = [
    "null",
    "NaN",
    "1e3",
    "[1e400]",
    '{"b":"\\ud800"}',
    "12345678901234567890123",
    "[1]",
    '{"a":1.0}',
    '"\\u0001"',
    "{}x",
]
SHORT = st.sampled_from(["", "a", "A", "k", "ß", "\u017f", "😀", "[", ".", "$&", "$$x", "$`", "$'", "$1"])


def transform(mapping: Any, data: Any) -> Any:
    """A mapping compiled and run, for once."""
    return compile_mapping(mapping)(data)


KEYS = st.sampled_from(["a", "b", "c", "1", "0", "10", "a.b", "", "x y", "length", "é"])
PATHS = st.sampled_from([*REACHING, *REACHING, *ODD])
TEXTS = st.text(max_size=4) | st.sampled_from([*PLAIN, *TEMPLATES, *ENCODED])
NUMBERS = (
    st.sampled_from([0, 1, -1, 0.0, -0.0, 1.0, 1.5, 1e21, 1e-7, 123456789.125, 1e300, -2.5e-10, 100, 1e16, 2.5e20])
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS


@st.composite
def some_json(draw: Draw, depth: int = 3) -> Any:
    kind = draw(st.integers(0, 4)) if depth else 0
    if kind < 2:
        return draw(SCALARS)
    count = range(draw(st.integers(0, 3)))
    if kind == 2:
        return [draw(some_json(depth - 1)) for _ in count]
    return {draw(KEYS): draw(some_json(depth - 1)) for _ in count}


@st.composite
def payloads(draw: Draw) -> dict[str, Any]:
    return {draw(KEYS): draw(some_json()) for _ in range(draw(st.integers(0, 5)))}


@st.composite
def parts(draw: Draw, depth: int = 3) -> Any:
    """Any part of a mapping, mostly a directive."""
    kind = draw(st.integers(0, 7)) if depth else draw(st.integers(0, 1))
    if kind == 0:
        return draw(SCALARS)
    if kind == 1:
        return {"@path": draw(PATHS)}
    if kind == 2:
        return [draw(parts(depth - 1) | raw(depth - 1)) for _ in range(draw(st.integers(0, 3)))]
    return draw(objects(depth) if kind == 3 else directives(depth))


@st.composite
def raw(draw: Draw, depth: int) -> dict[str, Any]:
    """An object with keys that look like directives, where Segment's validation does not see it."""
    key = draw(st.sampled_from(["@type", "@path", "@case", "@if"]))
    return {key: draw(parts(max(depth, 0))), **draw(objects(max(depth, 1))), "raw": draw(SCALARS)}


@st.composite
def objects(draw: Draw, depth: int) -> dict[str, Any]:
    return {draw(KEYS): draw(parts(depth - 1)) for _ in range(draw(st.integers(0, 4)))}


@st.composite
def directives(draw: Draw, depth: int) -> dict[str, Any]:
    name = draw(st.sampled_from(sorted(OPERANDS)))
    directive = {name: OPERANDS[name](draw, depth - 1)}
    return {**directive, "_metadata": {"x": 1}} if draw(st.integers(0, 9)) == 9 else directive


def _part(draw: Draw, depth: int) -> Any:
    return draw(parts(depth))


def _directive_or(literals: st.SearchStrategy[Any]) -> Callable[[Draw, int], Any]:
    return lambda draw, depth: draw(directives(depth)) if depth > 0 and draw(st.integers(0, 3)) == 3 else draw(literals)


def _shape(draw: Draw, depth: int) -> Any:
    return draw(directives(depth) if depth > 0 and draw(st.booleans()) else objects(max(depth, 1)))


def _excluded(draw: Draw, depth: int) -> Any:
    """What @merge shall see undefined members of."""
    return {"@excludeWhenNull": draw(st.builds(lambda path: {"@path": path}, PATHS) | objects(max(depth, 1)))}


def _literal(draw: Draw, depth: int) -> Any:
    return draw(parts(depth)) if draw(st.integers(0, 4)) else {"n": draw(raw(depth))}


def _if(draw: Draw, depth: int) -> Any:
    operand = {draw(st.sampled_from(["exists", "blank"])): draw(parts(depth)) or {"@path": draw(PATHS)}}
    return operand | {key: draw(parts(depth)) for key in ("then", "else", "exists") if draw(st.integers(0, 3)) > 0}


def _record(required: dict[str, Any], optional: dict[str, Any]) -> Callable[[Draw, int], Any]:
    def operand(draw: Draw, depth: int) -> Any:
        chosen = required | {key: one for key, one in optional.items() if draw(st.booleans())}
        return {key: one(draw, depth) if callable(one) else draw(one) for key, one in chosen.items()}

    return operand


def _words(*of: str) -> st.SearchStrategy[str]:
    """The first two mostly, the last seldom."""
    return st.sampled_from([*of[:2] * 4, *of[2:]])


TEXT = _directive_or(TEXTS)
PATH = _directive_or(PATHS)
OPERANDS: dict[str, Callable[[Draw, int], Any]] = {
    "@path": PATH,
    "@template": TEXT,
    "@literal": _literal,
    "@excludeWhenNull": _part,
    "@if": _if,
    "@case": _record({"operator": _words("lower", "upper", "UPPER"), "value": TEXT}, {}),
    "@replace": _record(
        {"pattern": SHORT.filter(bool), "value": TEXT},
        {"replacement": SHORT, "pattern2": SHORT, "replacement2": SHORT}
        | {"global": st.booleans(), "ignorecase": st.booleans()},
    ),
    "@merge": lambda draw, depth: {
        "objects": [
            _excluded(draw, depth) if draw(st.integers(0, 3)) == 3 else _shape(draw, depth)
            for _ in range(draw(st.integers(0, 3)))
        ],
        "direction": draw(_words("left", "right", "LEFT")),
    },
    "@arrayPath": lambda draw, depth: [PATH(draw, depth), *([_shape(draw, depth)] if draw(st.booleans()) else [])],
    "@flatten": _record({"value": _part, "separator": _words(".", "_", "")}, {"omitArrays": SCALARS}),
    "@json": _record({"value": _part, "mode": _words("encode", "decode", "Encode")}, {}),
    "@transform": _record({"apply": _shape, "mapping": _shape}, {}),
}
ROOTS: list[dict[str, Any]] = [
    {"@transform": {"apply": {"a": {"@path": "$.b"}, "b": [{"@path": "$.nope"}]}}},
    {"@flatten": {"value": {"@path": "$.a"}, "separator": "_"}},
    {"@merge": {"objects": [{"@path": "$.a"}, {"@path": "$.b"}], "direction": "right"}},
]


@st.composite
def mappings(draw: Draw) -> dict[str, Any]:
    mapping: dict[str, Any] = draw(objects(3) if draw(st.integers(0, 2)) else directives(3))
    root = draw(st.sampled_from(ROOTS)) if draw(st.integers(0, 9)) == 9 else None
    return {"__segment_internal_directive": root, **mapping} if root else mapping
