"""Customer.io's reporting webhooks: one event a request, answered within four seconds.

A refused request parks the whole feed for an hour, and all later events wait behind it for up to seven days.

Source: https://docs.customer.io/integrations/api/webhooks/ (read 2026-11-21)
"""

from __future__ import annotations

from collections.abc import Sequence

from connector import verify
from connector.sources import Incoming


def signed(request: Incoming, secrets: Sequence[str]) -> bool:
    """Is the body signed with one of the webhook's signing keys?"""
    headers = request.headers
    return verify.customerio(secrets, headers.get("x-cio-signature"), headers.get("x-cio-timestamp"), request.body)
