"""What an answer of Klaviyo's means for what was sent. No I/O.

Source: https://developers.klaviyo.com/en/docs/rate_limits_and_error_handling
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

import orjson

from connector.destinations import Verdict
from connector.klaviyo.wire import REVISION, errors_of, rate_of, retry_after

SPLIT: Final = (400, 409, 413, 415, 422)
"""Something in the request is bad or it is too large."""

MISSING_SCOPE_SECONDS: Final = 60
"""How long requests of a kind rest that the key may not make: people are slower than that, and others go on."""

MOST_SHOWN: Final = 3


def verdict(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    fine: Collection[int],
    told: str = "",
    read: Callable[[Mapping[str, Any]], Verdict] | None = None,
) -> Verdict:
    """What an answer means. Whatever a setting of ours is the cause of can be repeated: nothing is lost by it.

    Args: fine are the statuses by which Klaviyo says that it is done. told says what was done, if that is not what was
    first meant. read takes the document of a fine answer, where that is what was asked for.
    """
    found = _fine(status, body, told, read) if status in fine else _other(status, headers, body)
    return replace(found, limits=rate_of(headers).limits or ())


def said(status: int, body: bytes) -> str:
    """A refusal in Klaviyo's words, as far as they quote nothing."""
    errors = list(dict.fromkeys(filter(None, map(str, errors_of(body)))))
    more = f" and {len(errors) - MOST_SHOWN} more" if len(errors) > MOST_SHOWN else ""
    return f"HTTP {status} {'; '.join(errors[:MOST_SHOWN]) or _phrase(status)}{more}"


def _fine(status: int, body: bytes, told: str, read: Callable[[Mapping[str, Any]], Verdict] | None) -> Verdict:
    text = body.strip()
    if read is not None:
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError:
            document = None
        return read(document) if isinstance(document, dict) else _foreign(status)
    if text and not text.startswith(b"{"):
        return _foreign(status)
    return Verdict("delivered", f"HTTP {status}, {told}" if told else f"HTTP {status}")


def _foreign(status: int) -> Verdict:
    return Verdict("unknown", f"HTTP {status}, but not in Klaviyo's form (a proxy?): may have arrived", retryable=True)


def _other(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    if 200 <= status < 300:
        return _foreign(status)
    if status == 401 or (status == 403 and not _scope(body)):
        told = f"{said(status, body)}: Klaviyo does not accept the key; correct KLAVIYO_API_KEY"
        return Verdict("refused", told, retryable=True, at_once=True)
    if status == 403:
        told = f"{said(status, body)}: give KLAVIYO_API_KEY the scope that this call needs"
        return Verdict("refused", told, retryable=True, retry_after_seconds=MISSING_SCOPE_SECONDS, throttled=True)
    if status == 410:
        told = f"HTTP 410: Klaviyo has retired revision {REVISION} of its API; install a newer version"
        return Verdict("refused", told, retryable=True, at_once=True)
    if status in SPLIT or (status == 404 and errors_of(body)):
        return Verdict("split", said(status, body))
    if status in (408, 425, 429) or status >= 500:
        return _later(status, headers)
    told = f"{said(status, body)}: is KLAVIYO_API_URL right?"
    return Verdict("refused", told, retryable=True, at_once=True)


def _later(status: int, headers: Mapping[str, str]) -> Verdict:
    seconds = retry_after(headers)
    wish = "" if seconds is None else f", Retry-After {seconds} s"
    sure = status < 500 or status == 503  # behind any other there may be somebody who took it
    return Verdict(
        "refused" if sure else "unknown",
        f"HTTP {status}{wish}" if sure else f"HTTP {status}{wish}: may have arrived",
        retryable=True,
        retry_after_seconds=seconds,
        throttled=status == 429,
    )


def _scope(body: bytes) -> bool:
    """Is it one kind of request that the key may not make? A 403 of somebody in between refuses all alike."""
    return any(one.code == "permission_denied" for one in errors_of(body))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(not a standard status)"
