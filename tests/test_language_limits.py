"""What a payload nests too deeply, or what multiplies it, raises the mapping error and takes no memory first."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from connector.errors import MappingError
from connector.language import compile_mapping


def path(of: str) -> dict[str, Any]:
    return {"@path": of}


def said(spec: Any, data: dict[str, Any]) -> Any:
    return compile_mapping({"field": spec})(data)["field"]


def nested(levels: int, kind: str) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if kind == "object" else [value]
    return value


@pytest.mark.parametrize("kind", ["object", "array"])
@pytest.mark.parametrize(
    "spec",
    [
        {"@json": {"mode": "encode", "value": path("x")}},
        {"@flatten": {"value": path("x"), "separator": "."}},
        {"@merge": {"objects": [{"a": path("x")}], "direction": "left"}},
        {"@transform": {"apply": {"a": [path("x"), path("no")]}, "mapping": {"b": path("a")}}},
    ],
)
def test_what_is_nested_too_deeply_raises_the_mapping_error(spec: Any, kind: str) -> None:
    with pytest.raises(MappingError, match="nested too deeply"):
        said(spec, {"x": nested(20_000, kind)})


def test_deep_arrays_as_text_and_deep_mappings_raise_the_mapping_error() -> None:
    data = {"x": nested(20_000, "array")}
    for spec in ({"@template": "{{x}}"}, {"@if": {"blank": path("x"), "then": 1}}):
        with pytest.raises(MappingError, match="nested too deeply"):
            said(spec, data)
    with pytest.raises(MappingError, match=r"^here: is nested too deeply$"):
        compile_mapping(nested(20_000, "object"), "here")


def test_a_deep_value_that_is_only_passed_on_passes() -> None:
    data = {"x": nested(5_000, "array")}
    assert said(path("x"), data) is data["x"]


def chain(levels: int, key: str, end: Any) -> Any:
    for _ in range(levels):
        end = {key: end}
    return end


@pytest.mark.parametrize(
    ("spec", "data", "why"),
    [
        (
            {"@flatten": {"separator": ".", "value": path("x")}},
            {"x": chain(200, "k" * 1_000, dict.fromkeys(map(str, range(2_000)), 1))},
            "@flatten makes keys of more than 1,000,000 characters together",
        ),
        (
            {"@template": "{{{x}}}"},
            {"x": "{{y}}" * 2_000, "y": "y" * 100_000},
            "@template makes a text longer than 1,000,000 characters",
        ),
        (
            {"@template": path("x")},
            {"x": "{{y}}" * 2_000, "y": "y" * 100_000},
            "@template makes a text longer than 1,000,000 characters",
        ),
        (
            {"@template": path("x")},
            {"x": "{{{y}}}" * 2_000, "y": "y" * 100_000},
            "@template makes a text longer than 1,000,000 characters",
        ),
    ],
)
def test_what_grows_with_the_square_of_a_payload_is_refused_before_the_memory_is_taken(
    spec: Any, data: Any, why: str
) -> None:
    run = compile_mapping({"a": spec})
    tracemalloc.start()
    try:
        with pytest.raises(MappingError) as caught:
            run(data)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.mistakes == (f"/a/{why}",)
    assert peak < 20_000_000


def test_long_texts_that_nothing_multiplies_pass() -> None:
    data = {"x": "x" * 1_500_000, "deep": {"a": {str(n): n for n in range(50_000)}}}
    assert said({"@template": "<{{{x}}}>"}, data) == f"<{data['x']}>"
    assert said({"@template": path("x")}, data) == data["x"]
    assert len(said({"@flatten": {"separator": ".", "value": path("deep")}}, data)) == 50_000
