"""A time that tests own, and a store whose process can be killed at any of its transactions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from connector.messages import SECOND, Milliseconds
from connector.store import Store


class Clock:
    """The town's time. Call it to read it."""

    def __init__(self, at: Milliseconds) -> None:
        self.at = at

    def __call__(self) -> Milliseconds:
        return self.at

    def seconds(self) -> float:
        return self.at / SECOND

    def passes(self, span: float) -> None:
        """Args: span is in milliseconds."""
        self.at += max(0, round(span))


class Waiting(threading.Event):
    """An event whose waiters let the town's time pass. Args: longest_seconds is how long one of them waits at most."""

    def __init__(self, clock: Clock, longest_seconds: float = float("inf")) -> None:
        super().__init__()
        self._clock = clock
        self._longest = longest_seconds

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.passes(SECOND * min(self._longest, timeout or 0.0))
        return self.is_set()


class Killed(BaseException):
    """The process is gone: nobody catches this."""


class Mortal(Store):
    """A store whose process is killed at a transaction: before it is on disk, or right after.

    dies_in: after so many transactions, None for never. deaths: how often that was.
    """

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine)
        self.dies_in: int | None = None
        self.kept = False
        self.deaths = 0

    def will_die(self, in_transactions: int, *, kept: bool) -> None:
        """Args: kept says that the last transaction is on disk."""
        self.dies_in, self.kept = in_transactions, kept

    @contextmanager
    def writing(self, timeout_seconds: float = 30.0) -> Iterator[sa.Connection]:
        last = False
        if self.dies_in is not None:
            self.dies_in -= 1
            last = self.dies_in <= 0
        with super().writing(timeout_seconds) as tx:
            yield tx
            if last and not self.kept:
                self._die()
        if last:
            self._die()

    def _die(self) -> None:
        self.dies_in = None
        self.deaths += 1
        raise Killed
