"""Are the files in ``mappings/`` fit to be used, and does one of them mean something else than it looks?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from connector import destination_mapping, mapping, resources, rules_file, source_mapping
from connector.answers.check import Finding
from connector.errors import MappingError
from connector.klaviyo import mapping as klaviyo_mapping
from connector.language.oddities import warnings
from connector.messages import EMAIL_EVENTS
from connector.rules import WHERE
from connector.sources import declared, segment

PATH: Final = re.compile(r"[\w$-]+(\.[\w$-]+)+")
"""A text that was probably meant as a path."""


def check(overrides: Path | None) -> list[Finding]:
    """What is to be said of each file, those of the overrides folder in the place of the shipped ones."""
    shipped = resources.shipped_mappings()
    findings: list[Finding] = []
    for name, path in sorted(mapping.files(shipped, overrides).items()):
        findings += _file(name, path, own=overrides is not None and path.is_relative_to(overrides))
    if overrides is not None:
        findings += _unread(overrides)
    if not any(one.level == "error" for one in findings):
        findings += _together(shipped, overrides)
    return findings


def _file(name: str, path: Path, *, own: bool) -> Iterator[Finding]:
    mistakes: list[str] = []
    table = mapping.read(name, path, mistakes)
    try:
        told = "" if table is None else _read(name, table)
    except MappingError as error:
        mistakes += error.mistakes
    yield from (Finding("error", one) for one in mistakes)
    if not mistakes and table is not None:
        yield Finding("ok", f"{name}{' (yours)' if own else ''}: {told}")
        yield from (Finding("warn", one) for one in _surprises(name, table))


def _read(name: str, table: Mapping[str, Any]) -> str:
    """What a file says, in a few words.

    Raises: MappingError.
    """
    if name == WHERE:
        return f"{len(rules_file.load(table).types)} types of identifiers"
    if name == klaviyo_mapping.WHERE:
        return _klaviyo(table)
    if name.startswith("destinations/"):
        destination_mapping.read(name, table)
        return f"subscribes to {table.get('subscribe', 'everything')}"
    source = source_mapping.read(name, table)
    if source.provider != segment.NAME and "door" in table:
        declared.reader(source)
    return f"{len(source.names)} words, {len(source.fields)} fields"


def _together(shipped: Path, overrides: Path | None) -> Iterator[Finding]:
    """What only all files together can be asked."""
    try:
        mappings = mapping.load(shipped, overrides)
        declared.doors(mappings.sources)
    except MappingError as error:
        yield from (Finding("error", one) for one in error.mistakes)


def _unread(overrides: Path) -> Iterator[Finding]:
    """Files that look like mappings and are in no folder where one is looked for."""
    known = set(mapping.files(overrides, None).values())
    for path in sorted(overrides.rglob("*.toml")):
        if path not in known and "samples" not in path.relative_to(overrides).parts:
            yield Finding(
                "warn",
                f"{path.relative_to(overrides)} is read by nobody: expected {', '.join(mapping.PATTERNS)}",
            )


def _klaviyo(table: Mapping[str, Any]) -> str:
    """What Klaviyo's file says. A file of the user's own may leave keys out, so it is read as it will be used.

    Raises: MappingError.
    """
    mistakes: list[str] = []
    name = klaviyo_mapping.WHERE
    whole = {**table}
    klaviyo_mapping.complete(whole, mapping.read(name, resources.shipped_mappings() / name, mistakes) or {})
    read = klaviyo_mapping.read(name, whole)
    return f"{len(read.profile.shape.fields)} fields of a profile, {len(read.events)} events"


def _surprises(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    values = _values(table) if name.startswith("sources/") else ()
    for place, spec in klaviyo_mapping.values(table) if name == klaviyo_mapping.WHERE else values:
        yield from warnings(spec, f"{name}: {place}")
        if isinstance(spec, str) and PATH.fullmatch(spec):
            yield f'{name}: {place}: "{spec}" is that text itself; write ["{spec}"] for the value there'
    if not name.startswith("sources/"):
        return
    event = table.get("event", {})
    named = {one for spec in event.get("names", {}).values() for one in _names(spec)}
    missing = [one for one in EMAIL_EVENTS if one not in named and one not in event.get("absent", {})]
    if missing:
        yield (
            f"{name}: [event.names] has no word for {', '.join(missing)}; if the platform has none, say so in"
            " [event.absent]"
        )


def _values(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Everything in a source's file that is written in the mapping language."""
    yield "[event] path", table.get("event", {}).get("path", ["event"])
    yield from (("[door] dedupe", spec) for spec in [table.get("door", {}).get("dedupe")] if spec is not None)
    for section in ("identifiers", "fields"):
        yield from ((f'[{section}] "{key}"', spec) for key, spec in table.get(section, {}).items())


def _names(spec: Any) -> Iterator[str]:
    for one in spec if isinstance(spec, list) else [spec]:
        yield one["name"] if isinstance(one, dict) else one
