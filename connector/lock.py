"""One process serves, stitches and delivers a SQLite file: whoever holds the lock beside it.

The lock is the operating system's, on ``<database file>.lock``: it ends with its holder, however that dies. The file
itself stays and says who held it last, and which process to stop to end that.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from connector.errors import ConfigError

SUFFIX: Final = ".lock"


class StoreLock:
    """The exclusive lock on one SQLite database, held from ``acquire`` to ``release`` or the end of the process."""

    def __init__(self, database_url: str) -> None:
        database = sa.make_url(database_url).database or "connector.db"
        self.path = Path(f"{database}{SUFFIX}")
        self._descriptor: int | None = None

    def acquire(self, stop: int | None = None) -> None:
        """Hold the lock from now on.

        Args: stop is the process to end where somebody wants the lock, this one by default: what serves is a
        child, and is stopped by stopping its parent.

        Raises: ConfigError naming the process that holds it.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise ConfigError(f"{self._held()}: stop that process first, or use another DATABASE_URL") from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n{stop or os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _held(self) -> str:
        pids = self.path.read_text().split()
        who = f"process {pids[-1]}" if pids else "another process"
        return f"{who} already serves this database ({self.path.name} is locked)"


def private_file(database_url: str) -> None:
    """Make the file of a SQLite database, if there is none, so that only its owner can read it.

    SQLite itself makes it as readable as the umask allows, and gives its -wal and -shm the same mode.
    """
    database = sa.make_url(database_url).database
    with suppress(OSError):  # it is there already; or it cannot be made, which SQLite says in better words
        os.close(os.open(database or "", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
