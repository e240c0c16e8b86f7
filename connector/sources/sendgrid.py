"""SendGrid's Event Webhook: an array of the events of many messages, signed as a whole if that is switched on.

A request that is not answered with 2xx is sent again for up to 24 hours.

Source: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
(read 2026-11-24)
"""

from __future__ import annotations

from collections.abc import Sequence

from connector import verify
from connector.sources import Incoming

usable = verify.is_p256


def signed(request: Incoming, secrets: Sequence[str]) -> bool:
    """Are time stamp and body signed by the owner of one of the public keys?"""
    signature = request.headers.get("x-twilio-email-event-webhook-signature")
    timestamp = request.headers.get("x-twilio-email-event-webhook-timestamp")
    return verify.sendgrid(secrets, signature, timestamp, request.body)
