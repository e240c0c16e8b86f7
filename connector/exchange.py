"""One POST to a destination, and what came of it: the only place that opens a socket outwards.

A missing answer is the hard case. Whatever may have reached the destination is *unknown*; only what provably had no
connection to travel on is *refused*.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import MaxRetryError, NewConnectionError

from connector.destinations import Destination, Request, Verdict
from connector.messages import now_ms

MAX_ANSWER_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long one try may take: to connect (each address of the name), to the first byte, and for the rest."""

    connect_seconds: float = 3.0
    read_seconds: float = 10.0
    rest_seconds: float = 5.0


TIMEOUTS: Final = Timeouts()


class Exchange:
    """Posts requests, over one kept-alive connection a thread."""

    def __init__(self, timeouts: Timeouts = TIMEOUTS) -> None:
        self.timeouts = timeouts
        self._own = threading.local()

    def post(self, destination: Destination, request: Request) -> Verdict:
        """What the destination answered. Never raises for what a network can do."""
        try:
            with self._session().post(
                request.url,
                data=request.body,
                headers=dict(request.headers),
                timeout=(self.timeouts.connect_seconds, self.timeouts.read_seconds),
                allow_redirects=False,  # a redirect is a refusal: the key would follow it
                stream=True,
            ) as response:
                status = response.status_code
                body = self._read(response)
                if body is None and 200 <= status < 300:
                    return Verdict("unknown", f"HTTP {status}, but it broke off: may have arrived", retryable=True)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return destination.read_response(status, headers, body or b"", now_ms())
        except requests.RequestException as error:
            return self._no_answer(error)

    def close(self) -> None:
        """Close the connections of the calling thread."""
        session: requests.Session | None = self._own.__dict__.pop("session", None)
        if session is not None:
            session.close()

    def _read(self, response: requests.Response) -> bytes | None:
        """The beginning of the answer, None if it broke off."""
        body = b""
        ends = time.monotonic() + self.timeouts.rest_seconds
        try:
            for chunk in response.iter_content(8192):
                body += chunk
                if len(body) >= MAX_ANSWER_BYTES or time.monotonic() > ends:
                    break
        except requests.RequestException:
            return None
        return body[:MAX_ANSWER_BYTES]

    def _session(self) -> requests.Session:
        """This thread's session, blind to proxies and .netrc in the environment (reading them costs a third)."""
        session: requests.Session | None = getattr(self._own, "session", None)
        if session is None:
            session = self._own.session = requests.Session()
            session.trust_env = False
            session.headers["Accept-Encoding"] = "identity"
            for scheme in ("https://", "http://"):
                session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0))
        return session

    def _no_answer(self, error: requests.RequestException) -> Verdict:
        """What silence means. The error's own text stays out: it may quote what was being sent."""
        kind = type(error).__name__
        cause = error.args[0] if error.args else None
        reason = cause.reason if isinstance(cause, MaxRetryError) else None
        if isinstance(reason, NewConnectionError) or isinstance(error, requests.ConnectTimeout):
            return Verdict("refused", f"no connection ({kind})", retryable=True)
        if "CERTIFICATE_VERIFY_FAILED" in str(reason):
            return Verdict("refused", "no connection: the server's certificate is not trusted", retryable=True)
        if isinstance(error, requests.Timeout):
            waited = f"{self.timeouts.read_seconds:g} s"
            return Verdict("unknown", f"no answer in {waited}: may have arrived", retryable=True)
        return Verdict("unknown", f"the connection broke ({kind}): may have arrived", retryable=True)
