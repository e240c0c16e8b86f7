"""The ways the connector can say no. A class exists only where somebody acts differently on it.

Every message says what is wrong, where, and what to do; none carries an email address or a secret.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence


class ConnectorError(Exception):
    """Base of everything the connector raises on purpose."""


class ConfigError(ConnectorError):
    """The environment, a file or the store is not fit to start with. All mistakes are reported together.

    Args: mistakes is one sentence each, naming the variable or the file and key.
    """

    def __init__(self, *mistakes: str) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistakes))


class MappingError(ConfigError):
    """A mapping file cannot be used; the sentence names file, key, what was expected and what was found."""


class VerificationError(ConnectorError):
    """We do not know the sender: 401, and the sender should look at its secret."""


class ClosedError(ConnectorError):
    """No secret is configured for this source: 403, and the sentence names the variable to set."""


class PayloadError(ConnectorError):
    """The body is not JSON at all: 400. Anything that is JSON is stored instead."""


class CutShort(PayloadError):
    """The sender, or somebody on the way, broke off in the middle: 400, and the same request may be whole next time."""


class StoreUnavailable(ConnectorError):
    """The store could not commit in time: 503, and the sender tries again."""


class Unreachable(ConnectorError):
    """Somebody else's server, without which a sender cannot be known, does not answer: 503, and it tries again."""


class InvalidMessage(ConnectorError):
    """A stored element is not a message we understand: it is quarantined with these reasons, never lost.

    Args: reasons is one sentence each, for a person who has to repair the sender or the mapping.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(self.reasons))


def log_failure(action: str, error: BaseException) -> None:
    """Log where something unexpected happened; never the error's own words, which may quote a body or an address."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logging.getLogger("connector").error("action=%s error=%s\n%s", action, type(error).__name__, where)
