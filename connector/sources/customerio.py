"""Customer.io's reporting webhooks: one event a request.

A refused request parks the whole feed for an hour, and all later events wait behind it for up to seven days.

Source: https://docs.customer.io/integrations/api/webhooks/ (read 2026-11-21)
"""

from __future__ import annotations

from typing import Final

from connector import verify
from connector.elements import Element, decode, split, storable
from connector.errors import VerificationError
from connector.messages import Milliseconds, Received
from connector.sources import Incoming, SecretsOf, opened, received

NAME: Final = "customerio"
SECRETS: Final = "CUSTOMERIO_SIGNING_KEYS"


def read(request: Incoming, secrets_of: SecretsOf, now: Milliseconds) -> list[Received]:
    """The event of one request.

    Raises: ClosedError, VerificationError, PayloadError.
    """
    secrets = opened(secrets_of, SECRETS)
    stamp = request.headers.get("x-cio-timestamp")
    if not verify.customerio(secrets, request.headers.get("x-cio-signature"), stamp, request.body):
        raise VerificationError(f"X-CIO-Signature does not match: the webhook's signing key must be one of {SECRETS}")
    found = [storable(element) for element in split(decode(request.body))]
    return [received(NAME, element, _event_id(element), now) for element in found]


def _event_id(element: Element) -> object:
    return element.value.get("event_id") if isinstance(element.value, dict) else None
