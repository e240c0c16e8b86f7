"""The files in ``mappings/``, read and compiled once at start; an error names file, key, expected and found.

``[event]`` names the vendor's event word and a table to Segment's names; ``[fields]`` and ``[identifiers]`` give
each of our keys a value, in the language of ``directives``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from connector.directives import Value, alternatives, compile_value
from connector.errors import MappingError
from connector.messages import EMAIL_EVENTS, HOUR, Milliseconds, duration_ms
from connector.rules import WHERE, Rules
from connector.rules import load as load_rules

CHANNELS: Final = ("auto", "segment", "vendor")


@dataclass(frozen=True, slots=True)
class Source:
    """One file of ``mappings/sources/``: how a provider's payload becomes a Segment track call.

    event: the provider's words → spec names. machine_opens: words that mean "opened by a machine".
    identifiers: recipient, email, profile_id, user_id; each a list of values to try until one identifies.
    projects and platforms (of segment.toml): Segment projectId → provider; names of further email platforms.
    """

    provider: str
    name: str
    secrets: str
    integrations: tuple[str, ...]
    channel: str
    user_id: str
    forward: str
    event: Value
    names: Mapping[str, str]
    machine_opens: frozenset[str]
    fields: Mapping[str, Value]
    identifiers: Mapping[str, tuple[Value, ...]]
    projects: Mapping[str, str]
    platforms: frozenset[str]


@dataclass(frozen=True, slots=True)
class Destination:
    """One file of ``mappings/destinations/``: what is asked of events before they leave."""

    name: str
    integration: Mapping[str, str]
    names: Mapping[str, str]
    compliance: frozenset[str]
    compliance_hold_ms: Milliseconds
    on_expiry: str


@dataclass(frozen=True, slots=True)
class Mappings:
    """Everything in the folder, compiled."""

    rules: Rules
    sources: Mapping[str, Source]
    destinations: Mapping[str, Destination]
    vendors: Mapping[str, str] = field(default_factory=dict)  # lower-cased integration name → provider

    def vendor_of(self, integration_name: str) -> str:
        """The vendor an integration name stands for: ``Klaviyo (Actions)`` → ``klaviyo``."""
        known = self.vendors.get(integration_name.strip().lower())
        return known or re.sub(r"[^a-z0-9]+", "_", integration_name.lower()).strip("_")[:40] or "email"


def load(shipped: Path, overrides: Path | None = None, own_prefix: str = "", identity: Path | None = None) -> Mappings:
    """The shipped mappings, a file of the same name in the overrides folder winning.

    Args: identity is a file to take in the place of identity.toml, to see what it would do.

    Raises: MappingError, all mistakes of all files together.
    """
    mistakes: list[str] = []
    files = _files(shipped, overrides) | ({WHERE: identity} if identity else {})
    tables = {name: _read(path, mistakes) for name, path in files.items()}
    sources: dict[str, Source] = {}
    destinations: dict[str, Destination] = {}
    rules: Rules | None = None
    for name, table in tables.items():
        if table is None:
            continue
        try:
            if name == WHERE:
                rules = _rules(table, own_prefix, identity)
            elif name.startswith("sources/"):
                sources[Path(name).stem] = _source(name, table)
            elif name.startswith("destinations/"):
                destinations[Path(name).stem] = _destination(name, table)
        except MappingError as error:
            mistakes += error.mistakes
    if WHERE not in tables:
        mistakes.append(f"{WHERE}: there is none in {shipped}")
    if mistakes or rules is None:
        raise MappingError(*mistakes)
    vendors = {
        name.lower(): one.provider
        for one in sources.values()
        if one.provider != "segment"
        for name in (one.name, *one.integrations)
    }
    return Mappings(rules, sources, destinations, vendors)


def _rules(table: Mapping[str, Any], own_prefix: str, identity: Path | None) -> Rules:
    """Raises: MappingError that calls the file by the name it has."""
    try:
        return load_rules(table, own_prefix)
    except MappingError as error:
        if identity is None:
            raise
        raise MappingError(*(f"{identity}{one.removeprefix(WHERE)}" for one in error.mistakes)) from None


def _files(shipped: Path, overrides: Path | None) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in filter(None, (shipped, overrides)):
        for path in sorted(folder.rglob("*.toml")):
            found[path.relative_to(folder).as_posix()] = path
    return found


def _read(path: Path, mistakes: list[str]) -> dict[str, Any] | None:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        mistakes.append(f"{path.name}: this is not TOML: {error}")
    except OSError as error:
        mistakes.append(f"{path.name}: it cannot be read: {error.strerror}")
    return None


def _source(where: str, table: Mapping[str, Any]) -> Source:
    provider = Path(where).stem
    event = table.get("event", {})
    names = event.get("names", {})
    for word, name in names.items():
        if name not in EMAIL_EVENTS:
            raise MappingError(
                f'{where}: [event.names] "{word}": expected one of Segment\'s {", ".join(EMAIL_EVENTS)}, found {name!r}'
            )
    choose = _chooser(where, table)
    identifiers = table.get("identifiers", {})
    unknown = set(identifiers) - {"recipient", "email", "profile_id", "user_id"}
    if unknown:
        raise MappingError(f"{where}: [identifiers] has the unknown key '{min(unknown)}'")
    return Source(
        provider=provider,
        name=str(table.get("name", provider)),
        secrets=str(table.get("secrets", "")),
        integrations=tuple(table.get("integrations", ())),
        channel=choose("channel", CHANNELS, "auto"),
        user_id=choose("user_id", ("vendor", "segment"), "vendor"),
        forward=choose("forward", ("all", "repaired"), "all"),
        event=compile_value(event.get("path", ["event"]), f"{where}: [event] path"),
        names=names,
        machine_opens=frozenset(event.get("machine_opens", ())),
        fields=_compile_all(where, "fields", table),
        identifiers={key: alternatives(spec, f'{where}: [identifiers] "{key}"') for key, spec in identifiers.items()},
        projects=table.get("projects", {}),
        platforms=frozenset(str(name).lower() for name in table.get("email_platforms", ())),
    )


def _destination(where: str, table: Mapping[str, Any]) -> Destination:
    choose = _chooser(where, table)
    hold = duration_ms(str(table.get("compliance_hold", "1h")))
    if hold is None:
        raise MappingError(
            f"{where}: compliance_hold: expected a duration such as 1h, found {table['compliance_hold']!r}"
        )
    integration = table.get("integration", {})
    return Destination(
        name=Path(where).stem,
        integration={
            "name": str(integration.get("name", "connector")),
            "version": str(integration.get("version", "1.0.0")),
        },
        names=table.get("names", {}),
        compliance=frozenset(table.get("compliance", ("Email Bounced", "Email Marked as Spam", "Unsubscribed"))),
        compliance_hold_ms=hold or HOUR,
        on_expiry=choose("on_expiry", ("send", "drop", "hold"), "send"),
    )


def _chooser(where: str, table: Mapping[str, Any]) -> Callable[[str, tuple[str, ...], str], str]:
    def choose(key: str, choices: tuple[str, ...], default: str) -> str:
        value = table.get(key, default)
        if value not in choices:
            raise MappingError(f"{where}: {key}: expected one of {', '.join(choices)}, found {value!r}")
        return str(value)

    return choose


def _compile_all(where: str, section: str, table: Mapping[str, Any]) -> dict[str, Value]:
    return {key: compile_value(spec, f'{where}: [{section}] "{key}"') for key, spec in table.get(section, {}).items()}
