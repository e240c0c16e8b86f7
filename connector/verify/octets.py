"""Text of a request as the bytes that were sent, None where it cannot have been sent so."""

from __future__ import annotations

import base64
import binascii


def of_header(header: str | None) -> bytes | None:
    """A header's own bytes (WSGI hands them over as Latin-1), None if it cannot have been one."""
    try:
        return None if header is None else header.encode("latin-1")
    except UnicodeEncodeError:
        return None


def of_base64(text: str) -> bytes | None:
    """What standard base64 stands for, None if the text is anything else."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
