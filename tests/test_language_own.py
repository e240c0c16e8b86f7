"""Our own directives at their edges: what says nothing, what stays as it is, and what is too long to look at."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from connector.language import UNDEFINED, compile_value


def value(spec: Any, payload: dict[str, Any]) -> Any:
    return compile_value(spec, "here")(payload)


@pytest.mark.parametrize(
    ("said", "flag"),
    [
        ("Human", False),
        (" human ", False),
        (["human"], False),
        ("no", True),
        (["human", "bot"], True),
        (None, UNDEFINED),
    ],
)
def test_words_that_mean_no_take_the_place_of_the_usual_ones(said: Any, flag: Any) -> None:
    assert value({"@x-flag": {"value": ["by"], "false": ["human"]}}, {"by": said}) is flag


@pytest.mark.parametrize(
    ("said", "flag"), [("bot", True), ("BOT", True), ("1", False), (["yes", "bot"], True), ([], UNDEFINED)]
)
def test_of_words_that_mean_yes_no_other_does(said: Any, flag: Any) -> None:
    assert value({"@x-flag": {"value": ["by"], "true": ["bot"]}}, {"by": said}) is flag


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "md5"])
@pytest.mark.parametrize(("found", "text"), [("jane", "jane"), (7, "7"), (False, "false"), (0, "0"), ([1], "[1]")])
def test_a_hash_is_that_of_the_value_s_text(algorithm: str, found: Any, text: str) -> None:
    hashed = value({"@x-hash": {"value": {"@path": "$.a"}, "algorithm": algorithm}}, {"a": found})
    assert hashed == hashlib.new(algorithm, text.encode()).hexdigest()


@pytest.mark.parametrize("payload", [{"a": ""}, {"a": None}, {}])
@pytest.mark.parametrize("spec", [["a"], {"@path": "$.a"}])
def test_nothing_has_no_hash(spec: Any, payload: dict[str, Any]) -> None:
    assert value({"@x-hash": {"value": spec, "algorithm": "sha256"}}, payload) is UNDEFINED


@pytest.mark.parametrize(
    ("found", "text"), [(7, "7"), (1.5, "1.5"), (2.0, "2"), ("a", "a"), ({"b": 1}, {"b": 1}), ([1], [1])]
)
def test_numbers_become_text_and_whatever_else_stays(found: Any, text: Any) -> None:
    assert value({"@x-text": {"@path": "$.a"}}, {"a": found}) == text


@pytest.mark.parametrize("found", [True, False, None])
def test_a_truth_is_no_number(found: Any) -> None:
    assert value({"@x-text": {"@path": "$.a"}}, {"a": found}) is found


@pytest.mark.parametrize(
    ("payload", "several"),
    [
        ({"to": "a@x.test"}, False),
        ({"to": "a@x.test", "cc": ""}, False),
        ({"to": "a@x.test", "cc": None}, False),
        ({"to": "a@x.test", "cc": []}, False),
        ({"to": "a@x.test", "cc": "b@x.test"}, True),
        ({"to": ["a@x.test", "b@x.test"]}, True),
        ({}, False),
    ],
)
def test_what_is_empty_is_not_one_of_several(payload: dict[str, Any], several: bool) -> None:
    assert value({"@x-several": ["to", "cc"]}, payload) is several


@pytest.mark.parametrize(("length", "address"), [(1_000, "jane@x.test"), (1_001, UNDEFINED)])
def test_an_address_behind_a_display_name_that_no_mail_has_is_not_looked_for(length: int, address: Any) -> None:
    written = " <jane@x.test>".rjust(length, "J")
    assert (len(written), value({"@x-address": ["from"]}, {"from": written})) == (length, address)
