"""Mandrill (Mailchimp Transactional): a form whose field ``mandrill_events`` is a JSON array of events.

The public URL is part of what is signed, so it has to be told: ``MANDRILL_WEBHOOK_URLS``, each as it was entered at
Mandrill. Before a webhook is saved its URL is tried, unsigned, and has to answer 200; a request that is not answered
so later is sent again, with growing pauses.

Source: https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/ (read 2026-11-24)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector import elements, forms, verify
from connector.elements import Element, dumps
from connector.errors import PayloadError
from connector.sources import Incoming, Split

URLS: Final = "MANDRILL_WEBHOOK_URLS"
EVENTS: Final = "mandrill_events"
NO_EVENTS: Final = f"the form has no field {EVENTS}"


def signed(request: Incoming, secrets: Sequence[str]) -> bool:
    """Are one of the webhook's URLs and the form signed with one of the webhook's keys?"""
    urls = request.settings(URLS)
    try:
        fields = forms.pairs(_form(request))
    except PayloadError:
        return False
    return verify.mandrill(secrets, urls, request.headers.get("x-mandrill-signature"), fields)


def split(request: Incoming) -> Split:
    """The events of the form's array.

    Raises: PayloadError if the field is not JSON.
    """
    fields = dict(forms.pairs(_form(request)))
    if EVENTS not in fields:
        return [(Element(dumps(fields), fields, NO_EVENTS), None)]
    return [(element, None) for element in elements.split(fields[EVENTS])]


def _form(request: Incoming) -> str:
    return request.body.decode("utf-8", "replace")
