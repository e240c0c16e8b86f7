"""One request to somebody else's server, and what came of it: the place that opens sockets outwards.

A missing answer is the hard case. Whatever may have reached the server is *unknown*; only what provably had no
connection to travel on is *refused*.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import MaxRetryError, NewConnectionError

from connector.destinations import Destination, Request, Verdict
from connector.errors import ConnectorError
from connector.messages import now_ms

MAX_ANSWER_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long one try may take: to connect (each address of the name), to the first byte, and for the rest."""

    connect_seconds: float = 3.0
    read_seconds: float = 10.0
    rest_seconds: float = 5.0


TIMEOUTS: Final = Timeouts()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class NoAnswer(ConnectorError):
    """No answer, or not all of it. The detail is for people and quotes nothing that was sent.

    kind: ``refused`` where nothing can have been sent, else ``unknown``.
    """

    def __init__(self, kind: Literal["refused", "unknown"], detail: str) -> None:
        self.kind: Final = kind
        self.detail: Final = detail
        super().__init__(detail)


class Exchange:
    """Sends requests, over one kept-alive connection a thread."""

    def __init__(self, timeouts: Timeouts = TIMEOUTS) -> None:
        self.timeouts = timeouts
        self._own = threading.local()

    def post(self, destination: Destination, request: Request) -> Verdict:
        """What the destination answered. Never raises for what a network can do."""
        try:
            answer, whole = self._exchange(request, MAX_ANSWER_BYTES)
        except NoAnswer as error:
            return Verdict(error.kind, error.detail, retryable=True)
        if whole is None and 200 <= answer.status < 300:
            return Verdict("unknown", f"HTTP {answer.status}, but it broke off: may have arrived", retryable=True)
        read = request.read or destination.read_response
        return read(answer.status, answer.headers, answer.body, now_ms())

    def ask(self, request: Request, max_bytes: int = MAX_ANSWER_BYTES) -> Answer:
        """The whole answer, whatever its status is.

        Raises: NoAnswer, also for one that breaks off, takes too long or is longer than ``max_bytes``.
        """
        answer, whole = self._exchange(request, max_bytes)
        if not whole:
            what = "it broke off" if whole is None else "it was too long or too slow to be read to its end"
            raise NoAnswer("unknown", f"HTTP {answer.status}, but {what}")
        return answer

    def close(self) -> None:
        """Close the connections of the calling thread."""
        session: requests.Session | None = self._own.__dict__.pop("session", None)
        if session is not None:
            session.close()

    def _exchange(self, request: Request, max_bytes: int) -> tuple[Answer, bool | None]:
        """The answer, and whether its body is whole: False if we stopped reading, None if it broke off."""
        try:
            with self._session().request(
                request.method,
                request.url,
                data=request.body or None,
                headers=dict(request.headers),
                timeout=(self.timeouts.connect_seconds, self.timeouts.read_seconds),
                allow_redirects=False,  # a redirect is a refusal: the key would follow it
                stream=True,
            ) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                body, whole = self._read(response, max_bytes)
                return Answer(response.status_code, headers, body), whole
        except requests.RequestException as error:
            raise self._no_answer(error) from None  # its own text may quote what was being sent

    def _read(self, response: requests.Response, max_bytes: int) -> tuple[bytes, bool | None]:
        pieces: list[bytes] = []
        size = 0
        ends = time.monotonic() + self.timeouts.rest_seconds
        try:
            for chunk in response.iter_content(8192):
                pieces.append(chunk)
                size += len(chunk)
                if size > max_bytes or time.monotonic() > ends:
                    return b"".join(pieces)[:max_bytes], False
        except requests.RequestException:
            return b"", None
        return b"".join(pieces), True

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

    def _no_answer(self, error: requests.RequestException) -> NoAnswer:
        """What silence means. The error's own text stays out: it may quote what was being sent."""
        kind = type(error).__name__
        cause = error.args[0] if error.args else None
        reason = cause.reason if isinstance(cause, MaxRetryError) else None
        if isinstance(reason, NewConnectionError) or isinstance(error, requests.ConnectTimeout):
            return NoAnswer("refused", f"no connection ({kind})")
        if "CERTIFICATE_VERIFY_FAILED" in str(reason):
            return NoAnswer("refused", "no connection: the server's certificate is not trusted")
        if isinstance(error, requests.Timeout):
            return NoAnswer("unknown", f"no answer in {self.timeouts.read_seconds:g} s: may have arrived")
        return NoAnswer("unknown", f"the connection broke ({kind}): may have arrived")
