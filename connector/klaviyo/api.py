"""Klaviyo's API, for those who ask and wait: polling, looking up, an operator's commands. One client a process.

``wire`` has what every request has in common, and is offered here as well. Deliveries leave by ``deliver`` instead,
whose patience lives in the outbox.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote, urlsplit

import orjson
import tenacity

from connector.config import Config
from connector.destinations import Request
from connector.errors import ConnectorError
from connector.exchange import Answer, Exchange, NoAnswer, Timeouts
from connector.gate import Windows
from connector.klaviyo.wire import LIMITS, REVISION, Error, Tier, errors_of, headers, quoted, rate_of, retry_after
from connector.messages import Json

__all__ = [
    "LIMITS",
    "REVISION",
    "Client",
    "Error",
    "Patience",
    "Refused",
    "Tier",
    "Unanswered",
    "errors_of",
    "headers",
    "quoted",
    "rate_of",
    "retry_after",
]

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""A page of 1,000 events with their profiles takes a few megabytes."""

TIMEOUTS: Final = Timeouts(connect_seconds=3.0, read_seconds=30.0, rest_seconds=60.0)
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Refused(ConnectorError):
    """Klaviyo will not do this, and would not the next time either. Never carries what was sent.

    status, code, detail, pointer (into what was sent), parameter (of the query) and meta are the first error's;
    errors has all of them.
    """

    def __init__(self, status: int, errors: list[Error], headers: Mapping[str, str]) -> None:
        first = errors[0] if errors else Error()
        self.status: Final = status
        self.errors: Final = tuple(errors)
        self.code: Final = first.code
        self.detail: Final = first.detail
        self.pointer: Final = first.pointer
        self.parameter: Final = first.parameter
        self.meta: Final = first.meta
        self.retry_after_seconds: Final = retry_after(headers)
        said = str(first) or ("is KLAVIYO_API_URL right?" if status != 401 else "")
        super().__init__(f"Klaviyo answered HTTP {status}{': ' if said else ''}{said}")


class Unanswered(ConnectorError):
    """No answer that says anything, within our patience: the network, 429 or 5xx. Another time may do.

    status is that of the last answer, 0 if there was none; retry_after_seconds what it asked for.
    """

    def __init__(self, detail: str, *, status: int = 0, retry_after_seconds: int | None = None) -> None:
        self.status: Final = status
        self.retry_after_seconds: Final = retry_after_seconds
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often one question is asked and how long the waits between may be. A ``Retry-After`` is kept exactly; one
    beyond ``longest_wait_seconds`` ends it."""

    tries: int = 5
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 65.0


PATIENCE: Final = Patience()


class Client:
    """Asks Klaviyo within its limits. Threads share one; ``close`` what a thread opened when it ends.

    Args: stop ends every wait, and with it the question: ``Unanswered``.
    """

    def __init__(
        self,
        config: Config,
        *,
        exchange: Exchange | None = None,
        stop: threading.Event | None = None,
        patience: Patience = PATIENCE,
        rng: random.Random | None = None,
    ) -> None:
        self._url = config.klaviyo_api_url
        self._headers = headers(config.klaviyo_api_key)
        self._exchange = exchange or Exchange(TIMEOUTS)
        self._stop = stop or threading.Event()
        self._patience = patience
        self._windows = {tier: Windows(*LIMITS[tier]) for tier in Tier}
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing

    def get(self, path: str, query: Mapping[str, str] = NOTHING, *, tier: Tier) -> dict[str, Any]:
        """The document at ``/api/…``, asked again after 429, 5xx and whatever a network can do.

        Raises: Refused, Unanswered.
        """
        return self._document(self._again(Request(self._at(path, query), self._headers, b"", "GET", tier)))

    def send(self, method: str, path: str, document: Mapping[str, Json], *, tier: Tier) -> dict[str, Any]:
        """What came of a POST, PATCH or DELETE, ``{}`` if the answer is empty; asked again after 429 only.

        Raises: Refused; Unanswered, after which it may have been done.
        """
        body = orjson.dumps(dict(document)) if document else b""
        return self._document(self._again(Request(self._at(path, NOTHING), self._headers, body, method, tier)))

    def pages(self, path: str, query: Mapping[str, str] = NOTHING, *, tier: Tier) -> Iterator[dict[str, Any]]:
        """The document and those after it, one at a time. Follows ``links.next``, on the configured host only.

        Raises: Refused, Unanswered.
        """
        at = self._at(path, query)
        while True:
            page = self._document(self._again(Request(at, self._headers, b"", "GET", tier)))
            yield page
            links = page.get("links")
            following = links.get("next") if isinstance(links, dict) else None
            if not following:
                return
            if following == at or not self._ours(following):
                raise Unanswered("Klaviyo's link to the next page leads elsewhere; is KLAVIYO_API_URL right?")
            at = following

    def close(self) -> None:
        """Close the connections of the calling thread."""
        self._exchange.close()

    def _at(self, path: str, query: Mapping[str, str]) -> str:
        asked = "&".join(f"{quote(name, safe='[]')}={quote(value, safe='')}" for name, value in query.items())
        return f"{self._url}{path}{'?' if asked else ''}{asked}"

    def _ours(self, url: object) -> bool:
        try:
            return isinstance(url, str) and _origin(url) == _origin(self._url)
        except ValueError:
            return False

    def _again(self, request: Request) -> Answer:
        """The first answer that is final, or the last of our patience as an error."""
        patient = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Again),
            stop=self._enough,
            wait=self._pause,
            sleep=tenacity.sleep_using_event(self._stop),
            reraise=True,
        )
        try:
            answer = patient(self._once, request)
        except _Again as error:
            raise error.unanswered from None
        return answer

    def _once(self, request: Request) -> Answer:
        windows = self._windows[Tier(request.tier)]
        if not windows.wait(self._stop):
            raise Unanswered("stopped before Klaviyo was asked")
        try:
            answer = self._exchange.ask(request, MAX_ANSWER_BYTES)
        except NoAnswer as error:
            unanswered = Unanswered(f"Klaviyo: {error.detail}")
            raise (_Again(unanswered) if request.method == "GET" else unanswered) from None
        if answer.status == 429 or answer.status >= 500:
            seconds = retry_after(answer.headers)
            said = next((f": {one}" for one in errors_of(answer.body)), "")
            unanswered = Unanswered(
                f"Klaviyo answered HTTP {answer.status}{said}", status=answer.status, retry_after_seconds=seconds
            )
            if answer.status == 429:
                windows.pause(seconds or 0.0)
            elif request.method != "GET":
                raise unanswered
            raise _Again(unanswered)
        return answer

    def _enough(self, state: tenacity.RetryCallState) -> bool:
        too_long = (_asked(state) or 0) > self._patience.longest_wait_seconds
        return too_long or state.attempt_number >= self._patience.tries or self._stop.is_set()

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Seconds until the next try: what was asked for, exactly, else 0.5, 1, 2 … give or take half."""
        asked = _asked(state)
        if asked is not None:
            return float(asked)
        doubled = self._patience.first_wait_seconds * (1 << (state.attempt_number - 1))
        return min(self._patience.longest_wait_seconds, doubled * (0.5 + self._rng.random()))

    @staticmethod
    def _document(answer: Answer) -> dict[str, Any]:
        if not 200 <= answer.status < 300:
            raise Refused(answer.status, errors_of(answer.body), answer.headers)
        if not answer.body.strip():
            return {}
        document = _loads(answer.body)
        if not isinstance(document, dict):
            raise Unanswered(
                f"HTTP {answer.status}, but not in Klaviyo's form (a proxy?); is KLAVIYO_API_URL right?",
                status=answer.status,
            )
        return document


class _Again(Exception):
    """This try told nothing; unanswered is what it is called if it was the last."""

    def __init__(self, unanswered: Unanswered) -> None:
        self.unanswered: Final = unanswered
        super().__init__(str(unanswered))


def _asked(state: tenacity.RetryCallState) -> int | None:
    """The ``Retry-After`` of the try that just ended."""
    error = state.outcome.exception() if state.outcome else None
    return error.unanswered.retry_after_seconds if isinstance(error, _Again) else None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _loads(body: bytes) -> Any:
    """A document, None if it is none. Through the standard library where orjson is stricter: one subject that was cut
    inside an emoji must not make its whole page unreadable."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            return None
