"""What in a mapping does something else than it looks like: each a sentence that says what happens, and the way out.

Nothing here is a mistake; the mapping runs as it would at Segment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from connector.language import kit
from connector.language.javascript import is_truthy
from connector.language.own import OWN
from connector.language.paths import steps_of, without_prefix
from connector.language.text import LIVE, placeholders
from connector.messages import Json

Found = Iterator[tuple[str, str]]
"""(path inside the mapping, sentence)."""


def warnings(spec: Json, where: str) -> list[str]:
    """One sentence for each thing in a value, or a whole mapping, that would surprise; ``where`` begins each."""
    found = _ours(spec, "") if isinstance(spec, list) else _all(spec, "", top=True)
    return [f"{where}: {path} {sentence}" if path else f"{where}: {sentence}" for path, sentence in found]


def _ours(spec: Json, path: str) -> Found:
    """A value by our rules: the texts of a list are paths."""
    if not isinstance(spec, list):
        yield from _all(spec, path)
        return
    for one in spec:
        yield from _path_found(one, path) if isinstance(one, str) else _ours(one, path)


def _own(operand: Json, path: str) -> Found:
    """The operand of a directive of ours: a value, or an object with values in ``value`` and ``read``."""
    if isinstance(operand, Mapping) and not kit.directive_of(operand):
        for key in ("value", "read"):
            if isinstance(inner := operand.get(key), list | Mapping):
                yield from _ours(inner, f"{path}/{key}")
    elif isinstance(operand, list | Mapping):
        yield from _ours(operand, path)


def _all(spec: Json, path: str, top: bool = False) -> Found:
    name = kit.directive_of(spec)
    if name in OWN:
        yield from _own(spec[name], f"{path}/{name}")
    elif name is not None:
        operand, at = spec[name], f"{path}/{name}"
        look = LOOKS.get(name)
        if look is not None:
            yield from look(operand, at)
        if name == "@arrayPath" and isinstance(operand, list) and isinstance(next(iter(operand), None), str):
            yield from _below(["", *operand[1:]], at)  # the first is a path
        elif name not in TEXTS or not isinstance(operand, str):
            yield from _below(operand, at)
    elif isinstance(spec, Mapping | list):
        yield from _below(spec, path)
    elif isinstance(spec, str):
        yield from _literal_found(spec, path, top)


def _below(spec: Json, path: str) -> Found:
    if isinstance(spec, Mapping) and not kit.directive_of(spec):
        for key, one in spec.items():
            yield from _all(one, f"{path}/{key}")
    elif isinstance(spec, list):
        for at, one in enumerate(spec):
            yield from _all(one, f"{path}/{at}")
    else:
        yield from _all(spec, path)


def _literal_found(text: str, path: str, top: bool) -> Found:
    if text.startswith("$."):
        way = ", or a list of paths," if top else ""
        yield path, f'the text "{text}" stays a text; write {{ "@path" = "{text}" }}{way} for the value there'
    elif next(placeholders(text, 2), None) is not None:
        yield path, 'a text with {{…}} is only filled in inside { "@template" = "…" }; here it stays as it is'


def _path_found(text: Json, path: str) -> Found:
    if not isinstance(text, str):
        return
    if any(quoted in text for quoted in ("['", '["')) and any("." in part for part in _quoted(text)):
        steps = " → ".join(steps_of(without_prefix(text)))
        yield path, f'"{text}" is read as {steps}: a key that holds a dot cannot be reached, quoted or not'
    if text.startswith("$") and not text.startswith("$.") and "." in text:
        yield path, f'"{text}" looks for a key that is called "{text.partition(".")[0]}"; write "$." for the payload'
    if "$." in text[1:]:
        yield path, f'"{text}" loses its first "$.", wherever that stands: it is read as "{without_prefix(text)}"'
    if "[*]" in text:
        yield path, f'"{text}" knows no [*]; write {{ "@arrayPath" = ["path of the array", {{ shape }}] }}'


def _quoted(text: str) -> list[str]:
    return [part.partition("]")[0] for part in text.replace('"', "'").split("['")[1:]]


def _template(operand: Json, path: str) -> Found:
    if not isinstance(operand, str):
        return
    found = list(placeholders(operand, 2))
    for one in found:
        if one.path.strip("{ ").startswith("$."):
            yield path, f'{{{{{one.path}}}}} finds nothing: inside @template a path has no "$."'
        if "|" in one.path:
            yield (
                path,
                "filters with | are not known to @template, and what they are written at finds nothing; use @liquid",
            )
    whole = len(found) == 1 and found[0].start == 0 and found[0].end == len(operand)
    if whole and not found[0].path.startswith("{"):
        way = f'write {{ "@path" = "$.{found[0].path.removeprefix("$.")}" }} to keep its type'
        yield path, f"always gives a text: a number becomes one, and what is missing becomes ''; {way}"
    if next(placeholders(operand, 3), None) is not None:
        yield path, "what {{{…}}} brings in is searched for {{…}} again, so a payload can fill in further fields"


def _if(operand: Json, path: str) -> Found:
    if not isinstance(operand, Mapping):
        return
    exists, blank, otherwise = operand.get("exists"), operand.get("blank"), operand.get("else")
    if not is_truthy(exists) and not is_truthy(blank):
        shown = _shown(exists if "exists" in operand else blank)
        yield path, f'fails for every event: neither "exists" nor "blank" is there or true (found {shown})'
    if "exists" in operand and "blank" in operand:
        yield path, '"blank" is not looked at beside "exists"; use one of them'
    elif "blank" in operand:
        yield (
            path,
            (
                '"blank" is inverted: "then" is taken for a value that is NOT blank, "else" for undefined, null, \'\', '
                "0, false and []; swap the two if you meant the other way"
            ),
        )
    if "exists" in operand and is_truthy(exists) and kit.directive_of(exists) is None:
        yield path, f'"exists" asks about the literal {_shown(exists)}, which always exists; write {{ "@path" = "…" }}'
    if "else" in operand and not is_truthy(otherwise):
        yield path, f'"else" = {_shown(otherwise)} is ignored; write {{ "@literal" = {_shown(otherwise)} }}'


def _case(operand: Json, path: str) -> Found:
    if not isinstance(operand, Mapping):
        return
    operator = operand.get("operator")
    if not operator:
        yield path, 'fails for every event without "operator"; write "lower" or "upper"'
    elif isinstance(operator, str) and operator not in ("lower", "upper"):
        meant = operator.lower() if operator.lower() in ("lower", "upper") else "lower"
        yield path, f'the operator "{operator}" changes nothing and fails for every text; write "{meant}"'
    yield from _empty_value(operand, path)


def _empty_value(operand: Mapping[str, Any], path: str) -> Found:
    if not is_truthy(operand.get("value")):
        yield path, 'gives nothing without a "value"'


def _replace(operand: Json, path: str) -> Found:
    if not isinstance(operand, Mapping):
        return
    yield from _empty_value(operand, path)
    if kit.directive_of(operand.get("value")):
        yield (
            path,
            (
                "gives '' for a value that is null, missing, an array or an object; put it into \"then\" of an @if "
                'that asks whether the value "exists"'
            ),
        )
    for key in ("replacement", "replacement2"):
        text = operand.get(key)
        if isinstance(text, str) and LIVE.search(text):
            live = "$& (what was found), $` (before it), $' (after it) and $$ ($) are live"
            yield path, f'"{key}": {live}; write $$ for a dollar sign'
    if "pattern2" in operand and not is_truthy(operand["pattern2"]):
        yield path, '"pattern2" is empty and not used'
    for key in ("pattern2", "replacement2"):
        if isinstance(operand.get(key), str) and len(operand[key]) > 10:
            yield path, f'"{key}" is longer than 10 characters: it fails for every text'


def _merge(operand: Json, path: str) -> Found:
    if not isinstance(operand, Mapping):
        return
    direction = operand.get("direction")
    if not direction:
        yield path, 'fails for every event without "direction"; write "right" (later objects win) or "left"'
    elif isinstance(direction, str) and direction not in ("left", "right"):
        acts = "; later objects win" if direction.lower() == "left" else ""
        yield path, f'the direction "{direction}" acts as "right"{acts}; write "{direction.lower()}"'
    objects = operand.get("objects")
    raw = [one for one in objects if isinstance(one, Mapping)] if isinstance(objects, list) else []
    if any(kit.directive_of(member) for one in raw if not kit.directive_of(one) for member in one.values()):
        yield path, "a member that is undefined in one object removes that of the objects it wins over; null stays null"


def _json(operand: Json, path: str) -> Found:
    if not isinstance(operand, Mapping):
        return
    mode = operand.get("mode")
    if isinstance(mode, str) and mode not in ("encode", "decode"):
        yield path, f'the mode "{mode}" yields nothing; write "{mode.lower()}"'
    if not is_truthy(operand.get("value")):
        yield path, f"fails for every event: the value {_shown(operand.get('value'))} counts as missing; use @literal"


def _flatten(operand: Json, path: str) -> Found:
    if isinstance(operand, Mapping) and not operand.get("separator"):
        yield path, 'fails for every event without "separator"; write "." or "_"'


def _array_path(operand: Json, path: str) -> Found:
    if isinstance(operand, list) and operand:
        yield from _path_found(operand[0], path)
        if len(operand) > 1 and isinstance(operand[1], Mapping) and not operand[1]:
            yield path, "an empty shape is not used: the items stay as they are"


def _shown(value: Json) -> str:
    names = {True: "true", False: "false"}
    if isinstance(value, bool):
        return names[value]
    return "null" if value is None else repr(value) if isinstance(value, str | int | float) else "an object"


LOOKS: Final[Mapping[str, Callable[[Json, str], Found]]] = {
    "@path": _path_found,
    "@template": _template,
    "@if": _if,
    "@case": _case,
    "@replace": _replace,
    "@merge": _merge,
    "@json": _json,
    "@flatten": _flatten,
    "@arrayPath": _array_path,
}
TEXTS: Final = frozenset({"@path", "@template", "@liquid"})
"""Whose operand, as a text, is no literal."""
