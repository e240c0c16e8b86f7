"""Where deliveries go. A destination is one module here that knows a wire contract and does no I/O itself.

``deliver`` takes claimed deliveries through ``problems`` (what the destination would drop in silence), ``batches``,
``build_request`` and ``read_response``; it alone opens sockets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from connector.config import Config
from connector.messages import Milliseconds
from connector.queue import Delivery


@dataclass(frozen=True, slots=True)
class Request:
    """A POST, ready to leave. Headers carry the key, so a request is never printed whole."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer, or its absence, means for the deliveries of one request.

    status: ``delivered``; ``refused`` (surely not taken); ``unknown`` (it may have arrived); ``split`` (something
    in it is bad: ask again with halves, and refuse for good what is single). detail is for people: what came back,
    in plain words. at_once: the destination would refuse everything alike, so send nothing more for a while.
    """

    status: Literal["delivered", "refused", "unknown", "split"]
    detail: str
    retryable: bool = False
    retry_after_seconds: float | None = None
    at_once: bool = False


class Destination(Protocol):
    """What ``deliver`` needs of a destination module."""

    @property
    def NAME(self) -> str: ...

    def ready(self, config: Config) -> bool:
        """Is what it needs configured? If not, deliveries wait as pending."""

    def problems(self, body: str) -> list[str]:
        """Why this event would never arrive, one sentence each; empty if nothing speaks against it."""

    def batches(self, deliveries: Sequence[Delivery]) -> list[tuple[Delivery, ...]]:
        """The same deliveries in the same order, cut to what one request may hold."""

    def build_request(
        self, deliveries: Sequence[Delivery], config: Config, now: Milliseconds, retries: int = 0
    ) -> Request:
        """One request with all of them. Args: retries says how often they have been tried before."""

    def read_response(self, status: int, headers: Mapping[str, str], body: bytes, now: Milliseconds) -> Verdict:
        """What an answer means. Args: header names in lower case; the body's beginning suffices."""
