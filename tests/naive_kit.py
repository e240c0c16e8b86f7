"""Segment's mapping-kit as its description reads, walking the mapping at each call: slow, plain, and on its own.

It shares no code with ``connector.language``, so that the two can be held against each other.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

GONE = type("Gone", (), {"__bool__": lambda self: False, "__repr__": lambda self: "undefined"})()
"""undefined."""


class Refused(Exception):
    """Where Segment's throws."""


def transform(mapping: Any, data: Any) -> Any:
    """The whole mapping on one payload: GONE, or JSON."""
    return _no_gone(_transform(mapping, data), lists=True)


def _transform(mapping: Any, data: Any) -> Any:
    if data is GONE:
        data = {}
    if not isinstance(data, dict):
        raise Refused("data must be an object")
    if "__segment_internal_directive" in mapping:
        (name, operand), *_ = mapping["__segment_internal_directive"].items()
        others = {key: value for key, value in mapping.items() if key != "__segment_internal_directive"}
        mapping = {name: {**operand, "mapping": others}}
    return _no_gone(resolve(mapping, data), lists=False)


def _no_gone(value: Any, lists: bool) -> Any:
    if isinstance(value, dict):
        return {key: _no_gone(one, lists) for key, one in value.items() if one is not GONE}
    if isinstance(value, list):
        return [None if lists and one is GONE else _no_gone(one, lists) for one in value]
    return value


def resolve(mapping: Any, payload: Any) -> Any:
    if isinstance(mapping, list):
        return [resolve(one, payload) for one in mapping]
    if not isinstance(mapping, dict):
        return mapping
    names = [key for key in mapping if key.startswith("@")]
    if names and all(key in names or key == "_metadata" for key in mapping):
        return globals()["d_" + names[0][1:]](mapping[names[0]], payload)
    return {key: resolve(one, payload) for key, one in mapping.items()}


def yes(value: Any) -> bool:
    """Truthiness: empty arrays and objects are true."""
    return isinstance(value, list | dict) or bool(value)


def get(payload: Any, path: str) -> Any:
    if path in ("", "."):
        return payload
    for key in re.split(r"\[(?=[\"'0-9])|\.|(?<=[\"'0-9])\]+", path):
        if key == "":
            continue
        name = key.replace("'", "").replace('"', "")
        if not yes(payload):
            return payload
        payload = member(payload, name)
    return payload


def units(value: str) -> list[str]:
    raw = value.encode("utf-16-le", "surrogatepass")
    found = [raw[at : at + 2].decode("utf-16-le", "replace") for at in range(0, len(raw), 2)]
    return [one if len(one) == 1 else "\ufffd" for one in found]


def members(value: Any) -> dict[str, Any]:
    """Own enumerable members, indexes first."""
    value = units(value) if isinstance(value, str) else value
    if isinstance(value, list):
        return {str(at): one for at, one in enumerate(value)}
    if not isinstance(value, dict):
        return {}
    indexes = [key for key in value if re.fullmatch("0|[1-9][0-9]*", key) and int(key) < 2**32 - 1]
    return {key: value[key] for key in [*sorted(indexes, key=int), *(key for key in value if key not in indexes)]}


def member(value: Any, name: str) -> Any:
    if name == "length" and isinstance(value, list | str):
        return len(members(value))
    return members(value).get(name, GONE)


def text(value: Any) -> str:
    """String(value)."""
    if isinstance(value, list):
        return ",".join("" if one is None or one is GONE else text(one) for one in value)
    if isinstance(value, dict):
        return "[object Object]"
    if isinstance(value, float):
        return number(value)
    words = {"None": "null", "True": "true", "False": "false"}
    return value if isinstance(value, str) else words.get(str(value), str(value))


def number(value: float) -> str:
    shortest = repr(value)
    exponent = int(shortest.partition("e")[2] or 0)
    if exponent and not -7 < exponent < 21:
        return f"{shortest.partition('e')[0].removesuffix('.0')}e{exponent:+d}"
    return plainly(shortest) if value else "0"


def plainly(digits: str) -> str:
    """Without an exponent, and without a fraction that is zero."""
    return format(Decimal(digits), "f").removesuffix(".0")


def strings_only(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Refused(f"{name}: expected string")
    return value


def d_path(operand: Any, payload: Any) -> Any:
    return get(payload, strings_only("@path", resolve(operand, payload)).replace("$.", "", 1))


def d_template(operand: Any, payload: Any) -> Any:
    filled = strings_only("@template", resolve(operand, payload))
    data = {} if payload is GONE else payload
    filled = re.sub(r"\{\{\{([^}]+)\}\}\}", lambda found: shown(get(data, trim(found[0][3:-3]))), filled)
    return re.sub(r"\{\{([^}]+)\}\}", lambda found: shown(get(data, trim(found[0][2:-2]))), filled)


def trim(value: str) -> str:
    return re.sub(r"^[\s\ufeff]+|[\s\ufeff]+$", "", value)


def shown(value: Any) -> str:
    return "" if value is None or value is GONE else text(value)


def d_literal(operand: Any, payload: Any) -> Any:
    return resolve(operand, payload)


def d_if(operand: Any, payload: Any) -> Any:
    if not yes(operand.get("exists")) and not yes(operand.get("blank")):
        raise Refused("@if requires")
    if "exists" in operand:
        value = resolve(operand["exists"], payload)
        condition = value is not None and value is not GONE
    else:
        value = resolve(operand["blank"], payload)
        condition = value is not None and value is not GONE and not equals_empty_text(value)
    if condition:
        return resolve(operand["then"], payload) if "then" in operand else GONE
    return resolve(operand["else"], payload) if yes(operand.get("else")) else GONE


def equals_empty_text(value: Any) -> bool:
    """value == ''."""
    if isinstance(value, bool | int | float):
        return value == 0
    return text(value) == ""


def d_case(operand: Any, payload: Any) -> Any:
    if not operand.get("operator"):
        raise Refused("@case requires")
    if not yes(operand.get("value")):
        return GONE
    value = resolve(operand["value"], payload)
    if not isinstance(value, str):
        return value
    if operand["operator"] not in ("lower", "upper"):
        raise Refused("operator key")
    return value.lower() if operand["operator"] == "lower" else value.upper()


def d_replace(operand: Any, payload: Any) -> Any:
    if not yes(operand["value"]):
        return GONE
    value = resolve(operand["value"], payload)
    if isinstance(value, list | dict) or value is None or value is GONE:
        return ""
    once, ignore = not operand.get("global", True), operand.get("ignorecase", False)
    result = replaced(text(value), operand["pattern"], operand.get("replacement", ""), once, ignore)
    second, by = operand.get("pattern2"), operand.get("replacement2")
    if second and isinstance(second, str) and (by is None or isinstance(by, str)):
        result = replaced(result, second, by or "", once, ignore)
    return result


def replaced(value: str, pattern: str, by: str, once: bool, ignore: bool) -> str:
    if len(units(pattern)) > 10 or len(units(by)) > 10:
        raise Refused("too long")
    result, at = "", 0
    while at < len(value):
        here = value[at : at + len(pattern)]
        if here == pattern or (ignore and [*map(unfolded, here)] == [*map(unfolded, pattern)]):
            result += expanded(by, value, at, at + len(pattern))
            at += len(pattern)
            if once:
                break
        else:
            result += value[at]
            at += 1
    return result + value[at:]


def unfolded(letter: str) -> str:
    upper = letter.upper()
    ascii_from_other = ord(letter) > 127 and len(upper) == 1 and ord(upper) < 128
    return letter if len(upper) > 1 or ord(letter) > 0xFFFF or ascii_from_other else upper


def expanded(by: str, value: str, start: int, end: int) -> str:
    result, at = "", 0
    while at < len(by):
        two = by[at : at + 2]
        live = {"$$": "$", "$&": value[start:end], "$`": value[:start], "$'": value[end:]}
        result += live.get(two, by[at])
        at += 2 if two in live else 1
    return result


def d_arrayPath(operand: Any, payload: Any) -> Any:
    path, shape = [*operand, GONE][:2]
    root = get(payload, path.replace("$.", "", 1)) if isinstance(path, str) else resolve(path, payload)
    if isinstance(root, list | dict) and isinstance(shape, dict) and shape:
        return [resolve(shape, one) for one in (root if isinstance(root, list) else [root])]
    return root


def d_flatten(operand: Any, payload: Any) -> Any:
    if not operand.get("separator"):
        raise Refused("@flatten requires")
    return flat(resolve(operand["value"], payload), "", operand["separator"], yes(operand.get("omitArrays")))


def flat(value: Any, prefix: str, separator: str, omit: bool) -> dict[str, Any]:
    if not isinstance(value, dict) and (omit or not isinstance(value, list)):
        return {prefix: value}
    result: dict[str, Any] = {}
    for key, one in members(value).items():
        result = {**result, **flat(one, prefix + separator + key if prefix else key, separator, omit)}
    return result


def d_json(operand: Any, payload: Any) -> Any:
    if not yes(operand["value"]):
        raise Refused("@json requires")
    value = resolve(operand["value"], payload)
    if operand["mode"] == "encode":
        return GONE if value is GONE else written(value)
    if operand["mode"] != "decode":
        return GONE
    try:
        return json.loads(value, parse_constant=lambda _: 1 / 0, parse_int=float) if isinstance(value, str) else value
    except (ValueError, ZeroDivisionError):
        return value


def written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{written(k)}:{written(v)}" for k, v in members(value).items() if v is not GONE) + "}"
    if isinstance(value, list):
        return "[" + ",".join("null" if one is GONE else written(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else text(value)


def d_merge(operand: Any, payload: Any) -> Any:
    if not operand.get("direction"):
        raise Refused("@merge requires")
    objects = [members(resolve(one, payload)) for one in operand["objects"]]
    result: dict[str, Any] = {}
    for one in objects[::-1] if operand["direction"] == "left" else objects:
        result.update(one)
    return result


def d_transform(operand: Any, payload: Any) -> Any:
    return resolve(operand["mapping"], _transform(operand["apply"], payload))


def d_excludeWhenNull(operand: Any, payload: Any) -> Any:
    value = resolve(operand, payload)
    return GONE if value is None else without_null(value)


def without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: GONE if one is None else without_null(one) for key, one in value.items()}
    return value
