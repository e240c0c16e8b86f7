"""@liquid: what a template makes, what is switched off, and that no payload makes it large or slow."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import Any

import pytest

from connector.errors import MappingError
from connector.language import compile_mapping
from tests.kit_mappings import transform
from tests.liquid_answers import ANSWERS, PAYLOAD

DATA = {"x": "abc", "n": 42, "f": 1.0, "o": {"k": 1.5}, "l": [1, 2.0, "x", None], "b": True, "z": None, "e": []}

DISABLED = ["array_to_sentence_string", "find", "find_exp", "find_index", "find_index_exp", "group_by", "group_by_exp"]
DISABLED += ["has_exp", "newline_to_br", "reject_exp", "sort_natural", "where_exp"]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        ("Hello, {{ x }} {{ o.k }}{{ nope.a }}{{ z }}!", "Hello, abc 1.5!"),
        ("{{ f }} {{ n }} {{ b }}", "1 42 true"),
        ("{{ l }}{{ e }}", "12x"),
        ("{{ o }} {{ o | append: '!' }}", "[object Object] [object Object]!"),
        ("{{ l | join: ',' }}", "1,2,x,"),
        ("{{ x | upcase | append: f }}", "ABC1"),
        ("{{ f | plus: 1 }} {{ n | divided_by: 8 }} {{ '3' | plus: 4 }}", "2 5.25 7"),
        ("{{ o | json }} {{ l | json }}", '{"k":1.5} [1,2,"x",null]'),
        ("{{ nope | default: 'd' }}", "d"),
        ("{{ (1..3) }}", "123"),
        ("{% if n > 10 and b %}yes{% else %}no{% endif %}", "yes"),
        ("{% unless z %}none{% endunless %}", "none"),
        ("{% assign y = x | capitalize %}{{ y }}{% echo y %}", "AbcAbc"),
        ("{% capture y %}<{{ x }}>{% endcapture %}{{ y }}", "<abc>"),
        ("{% raw %}{{ x }}{% endraw %}{% comment %}c{% endcomment %}", "{{ x }}"),
        ("{{ '2024-01-02T03:04:05.000Z' | date: '%Y-%m-%d' }}", "2024-01-02"),
    ],
)
def test_templates(template: str, text: str) -> None:
    assert transform({"a": {"@liquid": template}}, DATA) == {"a": text}


LINES = ANSWERS.strip("\n").split("\n")


@pytest.mark.parametrize(("template", "answer"), list(zip(LINES[::2], LINES[1::2], strict=True)))
def test_what_segments_engine_answers(template: str, answer: str) -> None:
    assert transform({"a": {"@liquid": template}}, PAYLOAD) == {"a": answer.removeprefix("→")}


@pytest.mark.parametrize("tag", ["break", "continue", "cycle", "decrement", "doc", "ifchanged", "increment", "block"])
def test_tags_that_would_do_something_else_are_unknown(tag: str) -> None:
    with pytest.raises(MappingError, match=rf"^/a/@liquid is no Liquid template: unexpected tag '{tag}'$"):
        compile_mapping({"a": {"@liquid": f"{{% {tag} x %}}"}})


@pytest.mark.parametrize("tag", ["case", "for", "include", "layout", "render", "tablerow"])
def test_disabled_tags_are_told_before_any_event_comes(tag: str) -> None:
    with pytest.raises(MappingError, match=rf'^/a/@liquid is no Liquid template: tag "{tag}" is disabled$'):
        compile_mapping({"a": {"@liquid": f"{{% {tag} x %}}"}})


@pytest.mark.parametrize("name", [*DISABLED, "concat", "has", "map", "reject", "reverse", "sort", "uniq", "type"])
def test_disabled_filters_are_told_before_any_event_comes(name: str) -> None:
    with pytest.raises(MappingError, match=rf'^/a/@liquid filter "{name}" is disabled$'):
        compile_mapping({"a": {"@liquid": f"{{% if x %}}{{{{ x | {name} }}}}{{% endif %}}"}})


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ x | shout }}", '/a/@liquid filter "shout" is unknown'),
        ("{{ x", "/a/@liquid is no Liquid template: expected '}}', found end of file"),
        ("{% if x %}", "/a/@liquid is no Liquid template: expected tag endif, found end of expression"),
        (
            r"{{ x | split: '\n' }}",
            "/a/@liquid is no Liquid template: a text in quotes cannot hold a backslash here",
        ),
        ("{% nope %}", "/a/@liquid is no Liquid template: unexpected tag 'nope'"),
        ("a" * 1001, "/a/@liquid liquid template values are limited to 1000 characters"),
        ("😀" * 501, "/a/@liquid liquid template values are limited to 1000 characters"),
    ],
)
def test_what_is_no_template_is_told_before_any_event_comes(template: str, said: str) -> None:
    with pytest.raises(MappingError) as caught:
        compile_mapping({"a": {"@liquid": template}})
    assert caught.value.mistakes == (said,)


def test_a_template_of_the_longest_length_is_one() -> None:
    assert transform({"a": {"@liquid": "a" * 1000}}, {}) == {"a": "a" * 1000}


LONG = "would take or make a value of more than 100,000 characters or items"
DOUBLING = "{% assign a = x %}" + "{% assign a = a | append: a %}" * 30 + "{{ a }}"
SQUARING = "{% assign a = 99 %}" + "{% assign a = a | times: a %}" * 30 + "{{ a }}"
UNREADABLE = "is given a time that cannot be read; write it as 2026-01-31T10:00:00Z"


@pytest.mark.parametrize(
    ("template", "x", "why"),
    [
        ("{{ x | upcase }}", "a" * 100_001, LONG),
        ("{{ x | replace: 'a', x }}", "a" * 10_000, LONG),
        ("{{ x | replace: '', x }}", "a" * 10_000, LONG),
        ("{{ x | split: '' | join: x }}", "a" * 10_000, LONG),
        ("{{ (1..99999999) | join: '-' }}", "", LONG),
        ("{{ (1..99999999) }}", "", LONG),
        (DOUBLING, "a" * 10_000, LONG),
        ("{% if (1..x) contains 'a' %}{% endif %}", 10**15, LONG),
        ("{% if (1..x) == (1..x) %}{% endif %}", "1e15", LONG),
        ("{% if x %}{% assign y = (x..1) %}{% endif %}", -(10**15), LONG),
        ("{{ 'a' | append: x }}", "a" * 100_000, LONG),
        ("{{ x }}" * 140, "a" * 10_000, "cannot be filled in from this payload (OutputStreamLimitError)"),
        ("{{ x | date: '%Y' }}", "in the year 25", UNREADABLE),
        ("{{ '0' | date: x }}", "%999d", "is given a date format wider than 100 characters"),
        ("{{ '0' | date: '%Z' }}", "", "is given a date format with %Z, which is not known here"),
        ("{{ '0' | date: '%Y', x }}", "Ada/Home", "is given a time zone that is unknown here"),
        ("{{ x | url_decode }}", "100%", "is given a text with a % that is no escape"),
        ("{{ x | url_decode }}", "%FF", "is given an escaped text that is no UTF-8"),
        ("{{ x | json: 2 }}", "", 'cannot indent: leave the argument of "json" out'),
        ("{{ x | append }}", "", "cannot be filled in from this payload (LiquidTypeError)"),
        ("{{ x }}", "deep", "cannot be filled in from this payload (RecursionError)"),
    ],
)
def test_what_a_payload_makes_too_much_of_raises_and_does_not_quote_it(template: str, x: Any, why: str) -> None:
    run = compile_mapping({"a": {"@liquid": template}})
    if x == "deep":
        for _ in range(20_000):
            x = [x]
    with pytest.raises(MappingError) as caught:
        run({"x": x})
    assert caught.value.mistakes == (f"/a/@liquid {why}",)


def test_numbers_grow_to_infinity_and_no_further() -> None:
    assert transform({"a": {"@liquid": SQUARING}}, {}) == {"a": "Infinity"}


def test_texts_are_compared_by_their_utf_16_units() -> None:
    template = "{% if a < b %}less{% endif %}"
    assert transform({"a": {"@liquid": template}}, {"a": "\U0001f600", "b": "\uff5e"}) == {"a": "less"}


def test_a_number_that_is_no_time_stays_and_a_time_that_is_too_late_raises() -> None:
    run = compile_mapping({"a": {"@liquid": "{{ x | date: '%Y' }}"}})
    assert run({"x": 1e13}) == {"a": "10000000000000"}
    assert run({"x": "1" * 5_000}) == {"a": "1" * 5_000}
    with pytest.raises(MappingError, match=r"^/a/@liquid is a time beyond the year 9999$"):
        run({"x": 1e12})


def test_tags_without_an_end_are_looked_for_once() -> None:
    run = compile_mapping({"a": {"@liquid": "{{ x | strip_html | size }}"}})
    assert run({"x": "<script" * 14_000}) == {"a": "98000"}


@pytest.mark.parametrize("template", ["{{ x | replace: 'a', x }}", "{{ x | split: '' | join: x }}"])
def test_what_would_be_too_long_is_refused_before_the_memory_is_taken(template: str) -> None:
    run = compile_mapping({"a": {"@liquid": template}})
    run({"x": "a"})
    tracemalloc.start()
    try:
        with pytest.raises(MappingError):
            run({"x": "a" * 10_000})  # a hundred million characters
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


def test_without_the_extra_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "liquid.exceptions", None)  # what import finds where it is not installed
    with pytest.raises(MappingError) as caught:
        compile_mapping({"a": {"@liquid": "{{ x }}"}})
    assert caught.value.mistakes == ("/a/@liquid needs Liquid templates: pip install connector-cdp[liquid]",)


def test_mappings_without_liquid_do_not_import_it() -> None:
    program = (
        "import sys; from connector.language import compile_mapping; compile_mapping({'a': {'@path': 'x'}})({});"
        "sys.exit(any(name.partition('.')[0] == 'liquid' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
