"""Who may look: a bearer token, or the cookie that the sign-in form gives for one.

The cookie holds no token, only a keyed hash of it, signed and with an age; when a token leaves INSPECTOR_TOKENS its
sessions end. Wrong tokens are counted per address, so that who guesses hears 429; a right one is always let in,
because behind a router all visitors have one address and a stranger's guesses must not lock out the operator.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections.abc import Callable
from typing import Final, Literal

from itsdangerous import BadSignature, URLSafeTimedSerializer

from connector import verify
from connector.config import Config

VARIABLE: Final = "INSPECTOR_TOKENS"
COOKIE: Final = "connector_inspector"
SESSION_SECONDS: Final = 12 * 3600

WRONG: Final = 10
"""Wrong tokens an address may try in a window before it is told to wait for the next."""

WINDOW_SECONDS: Final = 60.0
ADDRESSES: Final = 10_000

Decision = Literal["welcome", "closed", "unknown", "slow down"]


class Access:
    """The tokens, and the memory of wrong ones. One a process."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens = config.secrets_of(VARIABLE)
        self._key = hmac.new(config.secret.encode(), b"inspector", hashlib.sha256).hexdigest()
        self._serializer = URLSafeTimedSerializer(self._key, salt="session")
        self._clock = clock
        self._lock = threading.Lock()
        self._window = 0.0
        self._wrong: dict[str, int] = {}

    @property
    def closed(self) -> bool:
        return not self._tokens

    def by_token(self, given: str | None, address: str) -> Decision:
        """May somebody at this address look, who shows this token?"""
        if self.closed:
            return "closed"
        if not given:
            return "unknown"
        if verify.token(self._tokens, given):
            return "welcome"
        if self._tried(address) >= WRONG:
            return "slow down"
        self._note(address)
        return "unknown"

    def by_cookie(self, cookie: str | None) -> bool:
        """Is this the cookie of somebody who signed in with a token that still counts?"""
        if self.closed or not cookie:
            return False
        try:
            told = self._serializer.loads(cookie, max_age=SESSION_SECONDS)
        except BadSignature:
            return False
        return isinstance(told, str) and any(hmac.compare_digest(told, self._name(token)) for token in self._tokens)

    def cookie(self, given: str) -> str:
        """The cookie for somebody who showed this token."""
        return str(self._serializer.dumps(self._name(given)))

    def _name(self, token: str) -> str:
        return hmac.new(self._key.encode(), token.encode(), hashlib.sha256).hexdigest()[:32]

    def _tried(self, address: str) -> int:
        with self._lock:
            if self._clock() - self._window >= WINDOW_SECONDS or len(self._wrong) > ADDRESSES:
                self._window, self._wrong = self._clock(), {}
            return self._wrong.get(address, 0)

    def _note(self, address: str) -> None:
        with self._lock:
            self._wrong[address] = self._wrong.get(address, 0) + 1
