"""The process log of what runs: one line an event, on standard error, with ids and counts only."""

from __future__ import annotations

import logging
import sys
import time
from typing import Final

_ORDINARY: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Formatter(logging.Formatter):
    """``2026-11-21T10:00:00Z info the words action=…``: what a record carries beside its words comes after them."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        more = "".join(f" {name}={value}" for name, value in vars(record).items() if name not in _ORDINARY)
        return f"{at} {record.levelname.lower()} {record.getMessage()}{more}"


def start() -> None:
    """Send the connector's log to standard error; calling it again changes nothing."""
    logger = logging.getLogger("connector")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Formatter())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logging.getLogger("_granian").addFilter(_matters)


def _matters(record: logging.LogRecord) -> bool:
    """Granian finds our 32 threads many for the processors here; they mostly wait for the disk."""
    return not record.getMessage().startswith("Configuration allows spawning up to")
