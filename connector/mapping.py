"""The files in ``mappings/``, read and compiled once at start; an error names file, key, expected and found.

identity.toml       who is one person: ``rules``
sources/*.toml      what an email platform's payload means: ``source_mapping``
destinations/*.toml what leaves, and how: ``destination_mapping``, for Klaviyo ``klaviyo.mapping``
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from connector import destination_mapping, rules_file, source_mapping
from connector.destination_mapping import Destination
from connector.errors import MappingError
from connector.klaviyo import mapping as klaviyo_mapping
from connector.klaviyo.mapping import KlaviyoMapping
from connector.rules import WHERE, Rules
from connector.source_mapping import Source

__all__ = ["Destination", "KlaviyoMapping", "Mappings", "Source", "files", "load", "read"]

PATTERNS: Final = (WHERE, "sources/*.toml", "destinations/*.toml")
"""Where files are read; what else a folder holds is nobody's."""


@dataclass(frozen=True, slots=True)
class Mappings:
    """Everything in the folder, compiled."""

    rules: Rules
    sources: Mapping[str, Source]
    destinations: Mapping[str, Destination]
    klaviyo: KlaviyoMapping
    vendors: Mapping[str, str] = field(default_factory=dict)  # lower-cased integration name → provider

    def vendor_of(self, integration_name: str) -> str:
        """The vendor an integration name stands for: ``Klaviyo (Actions)`` → ``klaviyo``."""
        known = self.vendors.get(integration_name.strip().lower())
        return known or re.sub(r"[^a-z0-9]+", "_", integration_name.lower()).strip("_")[:40] or "email"


INHERITED: Final = {"sources": ("door", "poll"), "destinations": ("integration",)}
"""What an override that leaves it out has of the shipped file, by folder."""

NEEDED: Final = (WHERE, klaviyo_mapping.WHERE)

RESERVED: Final = ("operator", "import", "tracking_api", "tracking", "declared", "email")
"""Sources of our own, whose elements are believed otherwise, and modules that are no platform's."""

PROVIDER: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


def load(shipped: Path, overrides: Path | None = None, own_prefix: str = "", identity: Path | None = None) -> Mappings:
    """The shipped mappings, a file of the same name in the overrides folder winning.

    Args: identity is a file to take in the place of identity.toml, to see what it would do.

    Raises: MappingError, all mistakes of all files together.
    """
    mistakes: list[str] = []
    found = files(shipped, overrides) | ({WHERE: identity} if identity else {})
    called = {WHERE: str(identity)} if identity else {}
    tables = {name: read(called.get(name, name), path, mistakes) for name, path in found.items()}
    _inherit(tables, shipped, mistakes)
    sources: dict[str, Source] = {}
    destinations: dict[str, Destination] = {}
    rules: Rules | None = None
    klaviyo: KlaviyoMapping | None = None
    for name, table in tables.items():
        if table is None:
            continue
        try:
            if name == WHERE:
                rules = _rules(table, own_prefix, identity)
            elif name.startswith("sources/"):
                _check_name(name)
                sources[Path(name).stem] = source_mapping.read(name, table)
            elif name == klaviyo_mapping.WHERE:
                klaviyo = klaviyo_mapping.read(name, table)
            elif name.startswith("destinations/"):
                destinations[Path(name).stem] = destination_mapping.read(name, table)
        except MappingError as error:
            mistakes += error.mistakes
    mistakes += [f"{name}: there is none in {shipped}" for name in NEEDED if name not in tables]
    vendors = _vendors(sources, mistakes)
    if mistakes or rules is None or klaviyo is None:
        raise MappingError(*mistakes)
    return Mappings(rules, sources, destinations, klaviyo, vendors)


def _check_name(name: str) -> None:
    """Raises: MappingError if a file's name cannot be a door's."""
    stem = Path(name).stem
    if not PROVIDER.fullmatch(stem):
        raise MappingError(f"{name}: expected small letters, digits and _ before .toml, because /webhooks is named so")
    if stem in RESERVED:
        raise MappingError(f"{name}: the name is taken by what the connector itself stores; choose another")


def _vendors(sources: Mapping[str, Source], mistakes: list[str]) -> dict[str, str]:
    """Whose events those are that an integration's name stands for."""
    found: dict[str, str] = {}
    for one in sources.values():
        for name in dict.fromkeys((one.name, *one.integrations) if one.provider != "segment" else ()):
            other = found.setdefault(name.lower(), one.provider)
            if other != one.provider:
                mistakes.append(
                    f"sources/{one.provider}.toml: name or integrations: '{name}' is what sources/{other}.toml says of"
                    " itself; two files cannot speak for one platform"
                )
    return found


def _inherit(tables: Mapping[str, dict[str, Any] | None], shipped: Path, mistakes: list[str]) -> None:
    """A file that overrides need not repeat how a platform's requests are read, or what we call ourselves."""
    for name, table in tables.items():
        if name == klaviyo_mapping.WHERE and table is not None and (shipped / name).is_file():
            klaviyo_mapping.complete(table, read(name, shipped / name, mistakes) or {})
            continue
        own, keys = shipped / name, INHERITED.get(name.partition("/")[0], ())
        if table is not None and any(key not in table for key in keys) and own.is_file():
            found = read(name, own, mistakes) or {}
            table |= {key: found[key] for key in keys if key in found and key not in table}


def _rules(table: Mapping[str, Any], own_prefix: str, identity: Path | None) -> Rules:
    """Raises: MappingError that calls the file by the name it has."""
    try:
        return rules_file.load(table, own_prefix)
    except MappingError as error:
        if identity is None:
            raise
        raise MappingError(*(f"{identity}{one.removeprefix(WHERE)}" for one in error.mistakes)) from None


def files(shipped: Path, overrides: Path | None) -> dict[str, Path]:
    """The files that count, by their names below the folder: of two with one name the one in overrides."""
    found: dict[str, Path] = {}
    for folder in filter(None, (shipped, overrides)):
        for pattern in PATTERNS:
            found |= {path.relative_to(folder).as_posix(): path for path in sorted(folder.glob(pattern))}
    return found


def read(name: str, path: Path, mistakes: list[str]) -> dict[str, Any] | None:
    """What a file says, None and a sentence more among the mistakes if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        mistakes.append(f"{name}: this is not TOML: {error}")
    except OSError as error:
        mistakes.append(f"{name}: it cannot be read: {error.strerror}")
    return None
