"""Form-encoded bodies as objects, the way PHP reads them: ``contact[email]=a&tags[]=x`` → nested. Pure.

A key that comes again becomes a list; what is not UTF-8 becomes replacement characters; nothing is ever refused but
bodies that are far larger than any platform's.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from typing import Final
from urllib.parse import unquote_to_bytes

from connector.errors import PayloadError
from connector.messages import Json

MAX_FIELDS: Final = 1_000
MAX_LEVELS: Final = 8

MAX_BROKEN: Final = 10_000
"""Escapes of a value in which one is none."""

_BROKEN: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PART: Final = re.compile(r"\[([^\[\]]*+)\]")


def pairs(text: str) -> list[tuple[str, str]]:
    """The names and values as they follow each other.

    Raises: PayloadError if there are more than a thousand, or their escapes are broken.
    """
    if text.count("&") >= MAX_FIELDS:
        raise PayloadError(f"the form has more than {MAX_FIELDS} fields")
    fields = (field.partition("=") for field in text.split("&") if field)
    return [(_decoded(name), _decoded(value)) for name, _, value in fields]


def _decoded(text: str) -> str:
    """A name or a value with its escapes undone.

    Quoted-printable is the same with another sign, and is undone in C: ``urllib`` makes a list of one piece for each
    escape, a hundred times the memory of a body that is nothing else, and this is done before its sender is known.
    """
    octets = text.replace("+", " ").encode("utf-8", "replace")
    if b"%" not in octets:
        return octets.decode("utf-8", "replace")
    if _BROKEN.search(octets) is None:
        return a2b_qp(octets.replace(b"=", b"=3D").replace(b"%", b"=")).decode("utf-8", "replace")
    if octets.count(b"%") > MAX_BROKEN:
        raise PayloadError("the form has broken escapes: a % stands for itself only as %25")
    return unquote_to_bytes(octets).decode("utf-8", "replace")


def parse(text: str) -> dict[str, Json]:
    """The object that a form stands for.

    Raises: PayloadError if it has more than a thousand fields.
    """
    found: dict[str, Json] = {}
    for name, value in pairs(text):
        _put(found, _steps(name), value)
    return found


def _steps(name: str) -> list[str]:
    """``contact[fields][plan]`` → contact, fields, plan. A name that is not of this form is one step."""
    head, bracket, _ = name.partition("[")
    parts = _PART.findall(name, len(head)) if bracket else []
    if not head or "".join((head, *(f"[{part}]" for part in parts))) != name or len(parts) >= MAX_LEVELS:
        return [name]
    return [head, *parts]


def _put(target: dict[str, Json], steps: list[str], value: str) -> None:
    """Place a value; where names contradict each other (``a=1&a[b]=2``) the later one is kept under its whole name."""
    here = target
    for number, step in enumerate(steps[:-1]):
        if steps[number + 1 :] == [""]:  # tags[]=x
            _append(here, step, value)
            return
        inner = here.setdefault(step or "0", {})
        if not isinstance(inner, dict):
            _append(target, "".join((steps[0], *(f"[{one}]" for one in steps[1:]))), value)
            return
        here = inner
    last = steps[-1]
    if last in here:
        _append(here, last, value)
    else:
        here[last] = value


def _append(here: dict[str, Json], name: str, value: str) -> None:
    known = here.get(name)
    if isinstance(known, list):
        known.append(value)
    elif name in here:
        here[name] = [known, value]
    else:
        here[name] = [value] if "[" not in name else value
