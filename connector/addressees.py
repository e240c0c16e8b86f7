"""Who is named in the headers of a mail: an event about one of several must not be kept with the others' addresses.

Whoever forgets one of them would not find them there, and what a mail says of all of its readers together, a tag or a
variable that names a user, means none of them in particular.
"""

from __future__ import annotations

import re
from typing import Final

from connector.language.own import ADDRESS, MAX_ADDRESS
from connector.messages import Json

_APART: Final = re.compile(r'[\s<>()\[\],;:"]+')


def named(*headers: Json) -> set[str]:
    """The addresses, in small letters, in texts such as ``Jane Doe <jane@x.test>, joe@x.test``, and in lists of such.

    Whatever has an ``@`` counts, in a display name too.
    """
    texts = [one for header in headers for one in (header if isinstance(header, list) else [header])]
    parts = (part for text in texts if isinstance(text, str) for part in _APART.split(text))
    return {part.lower() for part in parts if "@" in part}


def bare(text: str) -> str:
    """The address of ``Jane Doe <jane@x.test>`` in small letters; a text that is none as it is, in small letters."""
    found = ADDRESS.search(text) if len(text) <= MAX_ADDRESS else None
    return (found[1] or found[2] if found else text.strip()).lower()
