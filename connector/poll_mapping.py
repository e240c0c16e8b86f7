"""``[poll]`` of a source's file: how an email platform's API is read, beside its webhooks or in their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from connector.messages import DAY, HOUR, MINUTE, SECOND, Milliseconds, duration_ms
from connector.toml_section import Section

POLL_KEYS: Final = frozenset({"enabled", "every", "overlap", "sweep", "history", "history_counts", "metrics"})


@dataclass(frozen=True, slots=True)
class Poll:
    """How a platform's API is read.

    enabled: is it, where there is a key? every_ms: the pause between two rounds.
    overlap_ms: how far before the newest event each reading begins, for those that come late. sweep_ms: how far a look
    for later ones reaches, once a day. history_ms: how far the first reading reaches. history_counts: are events from
    before the first reading sent on, or evidence only? metrics: the platform's names → the words of [event.names].
    """

    enabled: bool
    every_ms: Milliseconds
    overlap_ms: Milliseconds
    sweep_ms: Milliseconds
    history_ms: Milliseconds
    history_counts: bool
    metrics: Mapping[str, str]


def read(poll: Section) -> Poll:
    """What the table says; what is wrong is noted in it."""
    poll.check_keys(POLL_KEYS)
    metrics = poll.section("metrics", "[poll.metrics]")
    if not metrics.table:
        poll.wrong("metrics", 'the platform\'s names of what is read, such as "Opened Email" = "opened"', metrics.table)
    return Poll(
        enabled=poll.flag("enabled") if "enabled" in poll.table else True,
        every_ms=_span(poll, "every", MINUTE, least=5 * SECOND, most=10 * MINUTE),
        overlap_ms=_span(poll, "overlap", 10 * MINUTE, least=MINUTE, most=DAY),
        sweep_ms=_span(poll, "sweep", 7 * DAY, least=HOUR, most=21 * DAY),
        history_ms=_span(poll, "history", 30 * DAY, least=0, most=365 * DAY),
        history_counts=poll.flag("history_counts"),
        metrics={name: metrics.text(f"{name}") for name in metrics.table},
    )


def _span(poll: Section, key: str, default: Milliseconds, *, least: Milliseconds, most: Milliseconds) -> Milliseconds:
    """A duration within bounds."""
    if key not in poll.table:
        return default
    found = poll.table[key]
    span = duration_ms(found) if isinstance(found, str) else None
    if span is None or not least <= span <= most:
        poll.wrong(key, f"a duration from {_shown(least)} to {_shown(most)}", found)
        return default
    return span


def _shown(span: Milliseconds) -> str:
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if span and span % size == 0:
            return f"{span // size}{unit}"
    return f"{span // SECOND}s"
