"""Klaviyo's rate limits: of every endpoint two fixed windows, one of a second and one of a minute.

Source: https://developers.klaviyo.com/en/docs/rate_limits_and_error_handling, ``x-klaviyo-ratelimit`` in its OpenAPI
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from connector.demo.klaviyo_standin.problems import Mistake, Problem
from connector.messages import MINUTE, SECOND, Milliseconds


@dataclass(frozen=True, slots=True)
class Tier:
    """How many requests a second (burst) and a minute (steady)."""

    burst: int
    steady: int


SMALL: Final = Tier(1, 15)
PRIVACY: Final = Tier(3, 60)
MEDIUM: Final = Tier(10, 150)
LARGE: Final = Tier(75, 750)
XLARGE: Final = Tier(350, 3500)


class Windows:
    """What is left of each endpoint's windows. All keys of the account share them."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, int], tuple[int, int]] = {}

    def take(self, endpoint: str, tier: Tier, now: Milliseconds) -> dict[str, str]:
        """Count one request and get the headers of its answer. Counts nothing if a window is full.

        Raises: Problem, a 429 with the whole seconds until the window that is full begins anew.
        """
        for width, limit in ((MINUTE, tier.steady), (SECOND, tier.burst)):
            if self._used(endpoint, width, now) >= limit:
                raise _throttled(-(-(width - now % width) // SECOND))
        for width in (MINUTE, SECOND):
            self._counted[endpoint, width] = (now // width, self._used(endpoint, width, now) + 1)
        return {
            "RateLimit-Limit": f"{tier.burst}, {tier.burst};w=1, {tier.steady};w=60",
            "RateLimit-Remaining": str(tier.burst - self._used(endpoint, SECOND, now)),
            "RateLimit-Reset": "0",
        }

    def _used(self, endpoint: str, width: int, now: Milliseconds) -> int:
        window, used = self._counted.get((endpoint, width), (-1, 0))
        return used if window == now // width else 0


def headers_without_limits(tier: Tier) -> dict[str, str]:
    """What an answer carries when nothing is counted."""
    return {
        "RateLimit-Limit": f"{tier.burst}, {tier.burst};w=1, {tier.steady};w=60",
        "RateLimit-Remaining": str(tier.burst - 1),
        "RateLimit-Reset": "0",
    }


def _throttled(seconds: int) -> Problem:
    unit = "second" if seconds == 1 else "seconds"
    detail = f"Request was throttled. Expected available in {seconds} {unit}."
    return Problem(429, [Mistake(detail, "/data", code="throttled")], {"Retry-After": str(seconds)})
