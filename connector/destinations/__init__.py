"""Where deliveries go. A destination is one module here that knows a wire contract and does no I/O itself.

``deliver`` takes claimed deliveries through ``problems`` (what the destination would drop or refuse), ``batches``,
``build_request`` and ``read_response``; it alone opens sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from connector.config import Config
from connector.gate import Limit
from connector.messages import Milliseconds
from connector.queue import Delivery
from connector.retry import Terms


@dataclass(frozen=True, slots=True)
class Request:
    """Ready to leave. Headers carry the key and a query may name people, so a request is never printed whole.

    tier: which of the destination's rate limits it counts towards. read: what its answer means, where that is not
    for ``read_response`` to say.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"
    tier: str = ""
    read: Reader | None = None

    def __repr__(self) -> str:
        return f"Request(url={self.url.partition('?')[0]!r})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer, or its absence, means for the deliveries of one request.

    status: ``delivered``; ``refused`` (surely not taken); ``unknown`` (it may have arrived); ``split`` (something
    in it is bad: ask again with halves, and refuse for good what is single). detail is for people: what came back,
    in plain words.

    at_once: the destination would refuse everything alike, so send nothing more for a while. throttled: it had too
    many requests of this tier, so send none of these for ``retry_after_seconds``. bad: of a split, the places in the
    request of what is bad, each with its reason: those are refused, and the rest is asked again. then: the question
    to be answered first, whose verdict counts instead. erase: what was delivered is not to be kept. limits: those
    that the destination says this tier has. followers: what waits behind them for the same subject must not leave.
    """

    status: Literal["delivered", "refused", "unknown", "split"]
    detail: str
    retryable: bool = False
    retry_after_seconds: float | None = None
    at_once: bool = False
    throttled: bool = False
    bad: Mapping[int, str] = field(default_factory=dict)
    then: Request | None = None
    erase: bool = False
    limits: tuple[Limit, ...] = ()
    followers: bool = False


Reader: TypeAlias = Callable[[int, Mapping[str, str], bytes, Milliseconds], Verdict]
"""Takes the arguments of ``read_response``."""


class Destination(Protocol):
    """What ``deliver`` needs of a destination: a module, or an object where settings come into it."""

    @property
    def NAME(self) -> str: ...

    @property
    def CLAIM(self) -> int:
        """How many deliveries to claim at a time."""

    @property
    def TERMS(self) -> Terms:
        """How long a delivery is repeated."""

    @property
    def TIERS(self) -> Mapping[str, tuple[Limit, ...]]:
        """The limits of each kind of request, by its name."""

    def ready(self, config: Config) -> bool:
        """Is what it needs configured? If not, deliveries wait as pending."""

    def problems(self, body: str, now: Milliseconds) -> list[str]:
        """Why this event would never arrive, one sentence each; empty if nothing speaks against it."""

    def batches(self, deliveries: Sequence[Delivery]) -> list[tuple[Delivery, ...]]:
        """The same deliveries, cut to what one request may hold; what concerns one subject keeps its order."""

    def tier(self, deliveries: Sequence[Delivery]) -> str:
        """The kind of request that would take these."""

    def build_request(
        self, deliveries: Sequence[Delivery], config: Config, now: Milliseconds, retries: int = 0
    ) -> Request:
        """One request with all of them. Args: retries says how often they have been tried before."""

    def read_response(self, status: int, headers: Mapping[str, str], body: bytes, now: Milliseconds) -> Verdict:
        """What an answer means. Args: header names in lower case; the body's beginning suffices."""
