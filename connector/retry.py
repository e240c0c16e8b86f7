"""When to try a delivery again. Pure functions: the hours between attempts, which wait in the outbox.

The seconds inside one attempt are tenacity's, in ``deliver``; which answers are worth repeating is each
destination's own knowledge, in ``destinations``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from connector.messages import DAY, MINUTE, SECOND, Milliseconds

FIRST_WAIT_SECONDS: Final = 30
LONGEST_WAIT_SECONDS: Final = 6 * 3600

REFUSED_FOR_MS: Final = 7 * DAY
"""How long a delivery is repeated that the destination surely did not take."""

LEAST_ATTEMPTS: Final = 8
"""A backlog that waited for its key, or for us, longer than seven days still gets this many tries (about an hour)."""

RETRY_AFTER_CAP_SECONDS: Final = 300
"""A guard against absurd headers, the same as in Segment's libraries; our own waits soon grow beyond it anyway.

Source: https://github.com/segmentio/analytics-python, ``segment/analytics/request.py``
"""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a destination makes of repeats.

    unknown_for_ms: how long one is repeated that may have arrived; None if the destination knows a repeat whenever it
    comes, so that it is repeated as long as a refused one. longest_ask_seconds: the wish that is still obeyed.
    """

    unknown_for_ms: Milliseconds | None
    longest_ask_seconds: float = RETRY_AFTER_CAP_SECONDS


def longest_wait_seconds(attempts: int) -> int:
    """The ceiling of the wait after so many attempts (≥ 1): 30 s, 1 min, 2 min … doubled up to 6 h."""
    return min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS << min(max(attempts, 1) - 1, 20))


def next_attempt(
    *,
    attempts: int,
    pending_at: Milliseconds,
    maybe_sent_at: Milliseconds | None,
    now: Milliseconds,
    jitter: float,
    terms: Terms,
    retry_after_seconds: float | None = None,
) -> Milliseconds | None:
    """When to try this delivery again, or None to bury it as a dead letter.

    Args: attempts counts those already made (≥ 1). maybe_sent_at is the first attempt whose answer nobody saw, None
    if each one was answered by a refusal. jitter in [0, 1) spreads the wait over its whole length ("full jitter"),
    so that what failed together does not come back together. retry_after_seconds is the destination's wish and a
    lower bound.

    The wait is cut short rather than overshoot the time in which a repeat is allowed, so the last try is never lost
    to an unlucky draw; it leaves a minute for the try itself.
    """
    asked = min(retry_after_seconds or 0.0, terms.longest_ask_seconds)
    due_at = now + max(1, round(SECOND * max(asked, jitter * longest_wait_seconds(attempts))))
    unknown_until = _unknown_until(maybe_sent_at, terms)
    if unknown_until is None and attempts < LEAST_ATTEMPTS:
        return due_at
    last = pending_at + REFUSED_FOR_MS if unknown_until is None else unknown_until
    due_at = min(due_at, last - MINUTE)
    return due_at if due_at > now else None


def too_late_to_repeat(maybe_sent_at: Milliseconds | None, now: Milliseconds, terms: Terms) -> bool:
    """Has the destination perhaps taken it so long ago that it would not recognise a repeat?"""
    until = _unknown_until(maybe_sent_at, terms)
    return until is not None and now >= until


def retry_after(headers: Mapping[str, str], now: Milliseconds) -> float | None:
    """How many seconds the destination asks us to wait, at most 300, None if it does not say.

    Args: header names in lower case. ``Retry-After`` is a number of seconds or an HTTP date; Segment's 429 carries
    ``X-RateLimit-Reset`` (seconds) as well.
    """
    for name in ("retry-after", "x-ratelimit-reset"):
        text = headers.get(name, "").strip()
        seconds = float(text) if text.isdecimal() and len(text) < 10 else _until(text, now)
        if seconds is not None:
            return min(max(seconds, 0.0), float(RETRY_AFTER_CAP_SECONDS))
    return None


def _unknown_until(maybe_sent_at: Milliseconds | None, terms: Terms) -> Milliseconds | None:
    """Until when what may have arrived may be repeated, None where that is no question."""
    return None if maybe_sent_at is None or terms.unknown_for_ms is None else maybe_sent_at + terms.unknown_for_ms


def _until(http_date: str, now: Milliseconds) -> float | None:
    try:
        moment = parsedate_to_datetime(http_date)
        if moment.tzinfo is None:  # what "-0000" is read as; it means UTC, not the zone of this machine
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp() - now / SECOND
    except (ValueError, TypeError, OverflowError):
        return None
