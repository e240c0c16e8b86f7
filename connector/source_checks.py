"""What each part of a source's file may say, and all of them together may not."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from connector.messages import EMAIL_EVENTS, Json
from connector.toml_section import Section

VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]*")
NAMES_SOMEBODY: Final = ("recipient", "profile_id", "user_id")


def together(
    file: Section, *, named: Mapping[str, Any], identifiers: Collection[str], headers: Collection[str]
) -> None:
    """Note what could never work: words that mean nothing, events that name nobody, headers that are not kept.

    Args: named are the words of [event.names]; identifiers the keys of [identifiers]; headers those the door keeps.
    """
    for name in (file.table.get("secrets", "X"), *file.texts("settings")):
        if not isinstance(name, str) or not VARIABLE.fullmatch(name):
            file.wrong("secrets", "the name of an environment variable, such as ACME_WEBHOOK_SECRETS", name)
    event = file.section("event")
    meant = {one.name for each in named.values() for one in each}
    for name in event.section("absent", "[event.absent]").table:
        if name in meant:
            event.wrong("absent", "no name that [event.names] has", name)
    for word in event.texts("machine_opens"):
        if word not in named:
            event.wrong("machine_opens", "words of [event.names]", word)
    if named and not any(key in identifiers for key in NAMES_SOMEBODY):
        file.wrong("[identifiers]", f"one of {', '.join(NAMES_SOMEBODY)}, or every event names nobody", [*identifiers])
    for header in sorted(set(_headers(file.table)) - set(headers)):
        file.wrong("[door] headers", f'"{header}", which an @x-header reads, to be among them', [*headers])


def absent(section: Section) -> dict[str, str]:
    """Why the platform has no word for a name of Segment's."""
    for name, why in section.table.items():
        if name not in EMAIL_EVENTS or not isinstance(why, str):
            section.wrong(f'"{name}"', "one of Segment's names and why it is absent", why)
    return {name: str(why) for name, why in section.table.items()}


def because(section: Section) -> dict[str, str]:
    """What is to be said of a word that stands for none of Segment's names."""
    return {word: section.text(word) for word in section.table}


def _headers(spec: Json) -> Iterator[str]:
    """The header fields that values read, wherever they stand."""
    if isinstance(spec, dict):
        for key, one in spec.items():
            if key == "@x-header" and isinstance(one, str):
                yield one.lower()
            yield from _headers(one)
    elif isinstance(spec, list):
        for one in spec:
            yield from _headers(one)
