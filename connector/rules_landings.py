"""``[[landings]]`` and ``[[cookies]]`` of ``identity.toml``, for ``rules_file``: what names more than a visitor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from connector.errors import MappingError
from connector.messages import Kind
from connector.rules import NAME, WHERE, Cookie, Landing, Type

DECODINGS: Final = ("", "base64")


def landings(entries: object, types: Mapping[str, Any]) -> tuple[Landing, ...]:
    """The parameters of URLs that name somebody. Args: types are the sections of the file.

    Raises: MappingError, as the other does.
    """
    found = []
    for here, entry in _numbered("landings", entries):
        if not {"parameter", "type", "kind"} <= set(entry) <= {"parameter", "type", "kind", "decode"}:
            raise MappingError(
                f"{WHERE}: {here}: expected exactly parameter, type and kind, and decode where it is needed"
            )
        one = Landing(*(str(entry.get(key, "")) for key in ("parameter", "type", "kind", "decode")))
        if one.decode not in DECODINGS:
            raise MappingError(f"{WHERE}: {here} decode: expected base64 or nothing, found {one.decode!r}")
        vendors = one.type.endswith(("_profile_id", "_user_id")) and NAME.fullmatch(one.type)
        if one.type == "anonymous_id" or (one.type not in types and not vendors):
            raise MappingError(
                f"{WHERE}: {here} type: expected a type of this file or <vendor>_profile_id, found {one.type!r}"
            )
        kinds = (Kind.CLICKED, Kind.HINTED, Kind.DECLARED)
        proves = bool(vendors) or bool(entry_of(types, one.type).get("token"))
        if one.kind not in kinds or (one.kind == Kind.CLICKED and not proves):
            raise MappingError(
                f"{WHERE}: {here} kind: expected {', '.join(kinds)} (clicked for a platform's ids and tokens only),"
                f" found {one.kind!r}"
            )
        found.append(one)
    return tuple(found)


def cookies(entries: object, types: Mapping[str, Type]) -> tuple[Cookie, ...]:
    """The cookies that a site hands over. Args: types are those that could be read."""
    found = []
    for here, entry in _numbered("cookies", entries):
        if not {"paths", "type"} <= set(entry) <= {"paths", "type", "email"}:
            raise MappingError(f"{WHERE}: {here}: expected exactly paths and type, and email where it is needed")
        one = Cookie(
            tuple(texts(f"{here} paths", entry["paths"])), str(entry["type"]), str(entry.get("email", Kind.HINTED))
        )
        if one.type not in types or not types[one.type].token:
            raise MappingError(
                f"{WHERE}: {here} type: expected a type of this file with token = true, found {one.type!r}"
            )
        if one.email not in (Kind.HINTED, Kind.DECLARED):
            raise MappingError(f"{WHERE}: {here} email: expected hinted or declared, found {one.email!r}")
        found.append(one)
    return tuple(found)


def _numbered(name: str, entries: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a section in double brackets is called, and what it says; each in its turn."""
    if not isinstance(entries, list):
        raise MappingError(f"{WHERE}: [[{name}]]: expected sections in double brackets, found {entries!r}")
    for number, entry in enumerate(entries, start=1):
        here = f"[[{name}]] number {number}"
        if not isinstance(entry, dict):
            raise MappingError(f"{WHERE}: {here}: expected a section, found {entry!r}")
        yield here, entry


def entry_of(entries: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section that may be no section, or not there."""
    return entry if isinstance(entry := entries.get(name), dict) else {}


def texts(where: str, value: object) -> Sequence[str]:
    """A list of texts. Raises: MappingError."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise MappingError(f"{WHERE}: {where}: expected a list of texts, found {value!r}")
    return value
