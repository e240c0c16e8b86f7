"""A platform's payload as the Segment track call that its mapping makes of it. Pure; what it means is ``validate``'s.

The call's name is Segment's where the mapping has one for the platform's word, else the word itself: such events are
kept and read as evidence, and the reason says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from connector import schema
from connector.language import UNDEFINED, apply_fields
from connector.language.javascript import is_truthy
from connector.language.own import SILENT
from connector.messages import Json
from connector.source_mapping import Source

UNLISTED: Final = "not an email event that the mapping lists: read as evidence, not sent on"
CONDITION: Final = "an email event only where {}: read as evidence, not sent on"
HISTORY: Final = "history"
"""The member of a payload that is true where the connector was not there yet when it happened."""
BEFORE: Final = "from before the connector polled {}: evidence only"
SEVERAL: Final = "the mail went to several addressees, and the platform does not say which of them this is about"

FLAGS: Final = {"machine_open": "Email Opened", "machine_click": "Email Link Clicked"}
"""What says that a machine did it, and of which event."""

MAX_WORD: Final = 200


@dataclass(frozen=True, slots=True)
class Mapped:
    """A call, and why it does not count, if so. named: it has one of Segment's names. several: addressee unknown."""

    call: dict[str, Json]
    named: bool
    several: bool
    ignored: str | None


def to_call(payload: Mapping[str, Json], source: Source) -> Mapped:
    """What the mapping makes of a payload.

    Raises: MappingError if the mapping cannot stand it; InvalidMessage if what it makes is no call.
    """
    word = source.event(payload)
    name = source.name_of(word, payload)
    fields = apply_fields(source.fields, payload)
    several = source.ambiguous is not None and is_truthy(source.ambiguous(payload))
    shown = "unknown event" if word is None or word is UNDEFINED or word == "" else str(word)[:MAX_WORD]
    call = schema.check({"type": "track", "event": name or shown, **fields}, schema.MAPPED)
    opened = isinstance(word, str) and word in source.machine_opens
    call["properties"] = flagged(call.get("properties") or {}, name or "", opened=opened)
    return Mapped(call, name is not None, several, _ignored(source, payload, word, name, several))


def flagged(properties: Mapping[str, Json], event: str, *, opened: bool) -> dict[str, Json]:
    """The properties with machine flags that are true or false, and only those of this event."""
    found = dict(properties)
    for flag, of in FLAGS.items():
        if flag in found and event != of:
            del found[flag]
        elif isinstance(found.get(flag), str):
            found[flag] = found[flag].strip().lower() not in SILENT
    if opened:
        found["machine_open"] = True
    return found


def _ignored(source: Source, payload: Mapping[str, Json], word: Json, name: str | None, several: bool) -> str | None:
    if several:
        return SEVERAL
    if name is not None:
        return BEFORE.format(source.name) if source.poll and payload.get(HISTORY) is True else None
    conditions = source.conditions_of(word)
    if conditions:
        return CONDITION.format(conditions)
    return source.because.get(word, UNLISTED) if isinstance(word, str) else UNLISTED
