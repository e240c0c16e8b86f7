"""The bodies of requests, read by no more threads at a time than the house can spare.

A body is read before its sender is known, a thread waits for it, and granian (2.8.7, tried) neither ends that wait nor
lets us end it. So senders that send nothing may keep some threads, and never the last ones: whoever comes when the
places are taken hears 503 at once, and health and pages still answer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, Protocol

MAX_BODY_BYTES: Final = 9 * 1024 * 1024
"""Segment sends up to 8 MB; the rest is air. A 413 costs the sender its whole batch."""

DRAIN_BYTES: Final = 64 * 1024 * 1024
"""How much of a body that is too large we still read, so that its sender hears the 413 and no broken pipe."""

READERS: Final = 48
"""How many bodies are read at a time; ``serving.THREADS`` is larger."""

LARGE_BYTES: Final = 1024 * 1024
LARGE_READERS: Final = 16
"""How many of them may be larger than that: it bounds the memory that unknown senders can fill."""

CHUNK: Final = 256 * 1024


class Crowded(Exception):
    """Every place is taken: 503, and the sender tries again."""


class Stream(Protocol):
    """What a body is read from."""

    def read(self, size: int, /) -> bytes: ...


class Bodies:
    """The places. One a process."""

    def __init__(self) -> None:
        self._readers = threading.Semaphore(READERS)
        self._large = threading.Semaphore(LARGE_READERS)

    def read(self, stream: Stream) -> bytes:
        """The body, or just more than the bound of it: neither Content-Length nor the sender is believed.

        Raises: Crowded.
        """
        parts: list[bytes] = []
        size = 0
        with ExitStack() as held:
            held.enter_context(self.place())
            while size <= MAX_BODY_BYTES and (part := stream.read(CHUNK)):
                if size <= LARGE_BYTES < size + len(part):
                    held.enter_context(self.place(large=True))
                parts.append(part)
                size += len(part)
            while MAX_BODY_BYTES < size <= DRAIN_BYTES and (part := stream.read(CHUNK)):
                size += len(part)
        return b"".join(parts)

    @contextmanager
    def place(self, *, large: bool = False) -> Iterator[None]:
        """One of the places, while the block runs.

        Raises: Crowded.
        """
        places = self._large if large else self._readers
        if not places.acquire(blocking=False):
            raise Crowded
        try:
            yield
        finally:
            places.release()
