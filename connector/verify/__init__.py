"""Who is calling? Signatures over raw bytes, compared in constant time. Pure: bytes in, yes or no out.

Every function answers False for anything malformed: a header that is missing, not ASCII or of another scheme is a
mismatch, never a crash, and so is a key that is none. Each takes all secrets that are valid at the moment, so that they
rotate without downtime.

``hashes`` has the platforms that share a secret with us, ``keys`` those that sign with a private key of their own,
``tokens`` those that sign nothing and show a secret instead.
"""

from __future__ import annotations

from connector.verify.hashes import (
    customerio,
    is_standard_secret,
    klaviyo,
    mailgun,
    mandrill,
    of_body,
    segment,
    standard_webhooks,
)
from connector.verify.keys import is_p256, sendgrid, sns
from connector.verify.tokens import basic_user, bearer, shared_secret, token

__all__ = [
    "basic_user",
    "bearer",
    "customerio",
    "is_p256",
    "is_standard_secret",
    "klaviyo",
    "mailgun",
    "mandrill",
    "of_body",
    "segment",
    "sendgrid",
    "shared_secret",
    "sns",
    "standard_webhooks",
    "token",
]
