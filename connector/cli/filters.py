"""``connector mappings eval`` and ``match``: the mapping language as filters, JSON Lines in and out, for scripts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import click

NOT_JSON: Final = "the line is not JSON, or has a number that is too large"
TOO_DEEP: Final = "it is nested too deeply"


@click.command("eval")
@click.argument("lines", type=click.File("rb"), default="-")
def eval_(lines: Any) -> None:
    """Evaluate mappings: {"mapping", "payload"} a line in, {"output"} or {"error"} a line out.

    As Segment evaluates them; output is absent where the result is undefined. A line without a payload has an empty
    one. Reads standard input unless a file is named; empty lines are skipped.

    \b
    Example:
      echo '{"mapping": {"@path": "$.a"}, "payload": {"a": 1}}' | connector mappings eval
    """
    from connector.elements import dumps
    from connector.language import UNDEFINED, compile_mapping

    @lru_cache(maxsize=256)
    def compiled(text: str) -> Callable[[Any], Any]:
        return compile_mapping(_loads(text))

    def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
        if "mapping" not in asked:
            return {"error": "the line has no mapping"}
        output = compiled(dumps(asked["mapping"]))(asked.get("payload", {}))
        return {} if output is UNDEFINED else {"output": output}

    _each(lines, answer)


@click.command()
@click.argument("lines", type=click.File("rb"), default="-")
@click.option(
    "--fql",
    type=click.Choice(("strict", "segment")),
    default="strict",
    show_default=True,
    help="segment: exactly as Segment reads filters; strict: refuse what Segment would read otherwise than it looks.",
)
def match(lines: Any, fql: str) -> None:
    """Does a filter match? {"subscribe", "payload"} a line in, {"match"} or {"error"} a line out.

    Of a filter that Segment itself cannot read, --fql segment says both: it matches nothing, and why. Nothing matches
    a line without a payload, as in Segment.

    \b
    Example:
      echo '{"subscribe": "type = \\"track\\"", "payload": {"type": "track"}}' | connector mappings match
    """
    from connector.language.fql import compile_filter, problem
    from connector.language.javascript import type_of

    exact = fql == "segment"

    @lru_cache(maxsize=256)
    def compiled(text: str) -> Callable[[Any], bool]:
        return compile_filter(text, "subscribe", exact=exact)

    def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
        text = asked.get("subscribe")
        if not isinstance(text, str):
            return {"error": "the line has no subscribe, or it is not text"}
        fits, payload = compiled(text), asked.get("payload", {})
        if not isinstance(payload, dict):
            return {"error": f"payload: expected an object, found {type_of(payload)}"}
        found = {"match": "payload" in asked and fits(payload)}
        why = problem(text) if exact else None
        return found if why is None else {**found, "error": why}

    _each(lines, answer)


def _each(lines: Iterator[bytes], answer: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """One answer a line, whatever the line says."""
    for line in lines:
        if line.strip():
            click.echo(_told(line, answer))


def _told(line: bytes, answer: Callable[[Mapping[str, Any]], dict[str, Any]]) -> str:
    from connector.elements import dumps
    from connector.errors import MappingError

    try:
        asked = _loads(line)
    except RecursionError:
        return dumps({"error": TOO_DEEP})
    except ValueError:
        return dumps({"error": NOT_JSON})
    if not isinstance(asked, dict):
        return dumps({"error": "the line is not an object"})
    try:
        return dumps(answer(asked))
    except MappingError as error:
        return dumps({"error": "; ".join(error.mistakes)})
    except RecursionError:
        return dumps({"error": TOO_DEEP})


def _loads(text: bytes | str) -> Any:
    """The standard library reads what orjson is too strict for: halves of characters, long integers."""
    import json

    import orjson

    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return json.loads(text, parse_float=_finite, parse_constant=_finite)


def _finite(text: str) -> float:
    """Raises: ValueError for what could not be written as JSON again."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
