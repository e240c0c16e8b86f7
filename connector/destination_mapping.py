"""A file of ``mappings/destinations/``, compiled: what is asked of events before they leave for Segment.

Klaviyo's says much more, and is read by ``klaviyo.mapping``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connector.errors import MappingError
from connector.language.fql import compile_filter, problem
from connector.messages import EMAIL_EVENTS, HOUR, Json, Milliseconds, duration_ms
from connector.toml_section import Section

QUOTED: Final = re.compile(r'"[^"]*"')
LATER: Final = re.compile(r"\buserId\b|\bcontext\.traits\b")
"""Fields that an event gets with its visitor."""

DIALECTS: Final = ("strict", "segment")

COMPLIANCE: Final = ("Email Bounced", "Email Marked as Spam", "Unsubscribed")

KEYS: Final = {"integration", "names", "compliance", "compliance_hold", "on_expiry", "subscribe", "fql"}


@dataclass(frozen=True, slots=True)
class Destination:
    """One file of ``mappings/destinations/``. subscribes: does an outgoing call leave for it?"""

    name: str
    integration: Mapping[str, str]
    names: Mapping[str, str]
    compliance: frozenset[str]
    compliance_hold_ms: Milliseconds
    on_expiry: str
    subscribes: Callable[[Mapping[str, Json]], bool] = lambda _call: True


def read(where: str, table: Mapping[str, Any]) -> Destination:
    """The destination that a file describes.

    Raises: MappingError, all mistakes of the file together.
    """
    file = Section(where, table, [])
    file.check_keys(KEYS)
    hold = duration_ms(file.text("compliance_hold", "1h"))
    if hold is None:
        file.wrong("compliance_hold", "a duration such as 1h", table["compliance_hold"])
    integration = file.section("integration")
    destination = Destination(
        name=Path(where).stem,
        integration={
            "name": integration.text("name", "connector"),
            "version": integration.text("version", "1.0.0"),
        },
        names=_names(file.section("names", "[names]")),
        compliance=frozenset(file.texts("compliance") if "compliance" in table else COMPLIANCE),
        compliance_hold_ms=HOUR if hold is None else hold,
        on_expiry=file.choice("on_expiry", ("send", "drop", "hold"), "send"),
        subscribes=filter_of(file, file.choice("fql", DIALECTS, "strict"), LATER, "no userId and no context.traits"),
    )
    if file.mistakes:
        raise MappingError(*file.mistakes)
    return destination


def _names(names: Section) -> dict[str, str]:
    for name in names.table:
        if name not in EMAIL_EVENTS:
            names.wrong(f'"{name}"', f"one of Segment's {', '.join(EMAIL_EVENTS)}", name)
    return {name: names.text(name) for name in names.table}


def filter_of(
    section: Section, dialect: str, later: re.Pattern[str], expected: str
) -> Callable[[Mapping[str, Json]], bool]:
    """The filter in a section's ``subscribe``; everything passes where there is none.

    Args: later finds the fields that are not known yet when it is asked, expected says so.
    """
    if "subscribe" not in section.table:
        return lambda _call: True
    text, exact = section.text("subscribe"), dialect == "segment"
    if later.search(QUOTED.sub("", text)):
        section.wrong("subscribe", f"{expected}: it is asked before the visitor is known", text)
    why = problem(text) if exact else None
    if why is not None:
        section.mistakes.append(
            f"{section.place('subscribe')}: Segment cannot read it, so that nothing would leave: {why}"
        )
    try:
        return compile_filter(text, section.place("subscribe"), exact=exact)
    except MappingError as error:
        section.mistakes += error.mistakes
        return lambda _call: False
