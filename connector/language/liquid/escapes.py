"""HTML, URLs and base64 in Liquid templates: the text without its tags, with its signs escaped, and back.

Source: https://liquidjs.com/filters/overview.html, and what liquidjs 10.30 answers
"""

from __future__ import annotations

import base64
import re
from typing import Final
from urllib.parse import unquote

from connector.errors import MappingError

ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"}
CHARACTERS: Final = {entity: char for char, entity in ENTITIES.items()}
BLOCKS: Final = {"<script": "</script>", "<style": "</style>", "<!--": "-->", "<": ">"}
ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def without_tags(text: str) -> str:
    """In linear time: an opener whose closer is missing once is not looked for again."""
    blocks, done, at = dict(BLOCKS), [], 0
    while (start := text.find("<", at)) >= 0:
        done.append(text[at:start])
        at = start
        for opener, closer in list(blocks.items()):
            if text.startswith(opener, start):
                end = text.find(closer, start + len(opener))
                if end >= 0:
                    at = end + len(closer)
                    break
                del blocks[opener]
        if at == start:
            break
    return "".join([*done, text[at:]])


def escaped(text: str) -> str:
    return re.sub("[&<>\"']", lambda found: ENTITIES[found[0]], text)


def unescaped(text: str) -> str:
    return re.sub("&(?:amp|lt|gt|#34|#39);", lambda found: CHARACTERS[found[0]], text)


def url_decoded(text: str) -> str:
    if ESCAPE.search(text):
        raise MappingError("is given a text with a % that is no escape")
    try:
        return unquote(text.replace("+", " "), errors="strict")
    except UnicodeDecodeError:
        raise MappingError("is given an escaped text that is no UTF-8") from None


def base64_decoded(text: str) -> str:
    letters = re.sub("[^A-Za-z0-9+/]", "", text.partition("=")[0].translate({45: 43, 95: 47}))
    letters = letters[:-1] if len(letters) % 4 == 1 else letters
    return base64.b64decode(letters + "=" * (-len(letters) % 4)).decode("utf-8", "replace")
