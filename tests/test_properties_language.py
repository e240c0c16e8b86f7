"""Random mappings on random payloads: the compiled function says what the naive one says, and both raise one error."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from connector.errors import MappingError
from connector.language import UNDEFINED, compile_mapping, compile_value
from connector.language.javascript import number_text, to_string
from tests import naive_kit
from tests.kit_mappings import NUMBERS, mappings, parts, payloads, some_json

QUICK = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def told_apart(value: Any) -> Any:
    """A value in which true, 1 and undefined are not each other; 1 and 1.0 are one number."""
    if isinstance(value, dict):
        return {key: told_apart(one) for key, one in value.items()}
    if isinstance(value, list):
        return [told_apart(one) for one in value]
    if value is UNDEFINED or value is naive_kit.GONE:
        return ("undefined",)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return type(value).__name__, value
    return "number", float(value)


def outcome(run: Callable[[], Any]) -> Any:
    try:
        return told_apart(run())
    except (MappingError, naive_kit.Refused):
        return "refused"


def agree(mapping: Any, data: Any) -> None:
    before = copy.deepcopy((mapping, data))
    run = compile_mapping(mapping)
    said = outcome(lambda: run(data))
    assert said == outcome(lambda: naive_kit.transform(mapping, data))
    assert said == outcome(lambda: run(data)), "the second run says something else"
    assert (mapping, data) == before


@QUICK
@given(mapping=mappings(), data=payloads())
def test_compiled_and_naive_mappings_say_the_same(mapping: Any, data: Any) -> None:
    agree(mapping, data)


@pytest.mark.long
@settings(QUICK, max_examples=20_000)
@given(mapping=mappings(), data=payloads())
def test_thousands_of_compiled_and_naive_mappings_say_the_same(mapping: Any, data: Any) -> None:
    agree(mapping, data)


@QUICK
@given(spec=parts(), data=some_json())
def test_a_field_raises_nothing_but_the_mapping_error_whatever_json_comes(spec: Any, data: Any) -> None:
    try:
        compile_value(spec, "here")(data)
    except MappingError as error:
        assert [one.partition(":")[0] for one in error.mistakes] == ["here"] * len(error.mistakes)


@QUICK
@given(number=NUMBERS)
def test_numbers_are_written_alike_and_mean_the_same(number: float) -> None:
    assert number_text(number) == naive_kit.text(number)
    assert float(number_text(number)) == number


@QUICK
@given(value=some_json())
def test_every_value_has_the_same_text(value: Any) -> None:
    assert to_string(value) == naive_kit.text(value)
