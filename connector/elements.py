"""From a request's bytes to its elements, each as its own slice of text. Pure, and more tolerant than JSON.

A sender's batch has one answer for all its events, so one rotten element must not cost the others: what cannot be
read is still cut out, marked with the reason, and stored. Only a body that is not JSON at all is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import Final

import orjson

from connector.errors import PayloadError
from connector.messages import Json

MAX_ELEMENTS: Final = 20_000
"""Segment sends at most 4,000 elements a request, Klaviyo 1,000. Nine megabytes of ``[1,1,…`` are an attack."""

MAX_MEMBERS: Final = 1_000
"""The envelopes we know have a handful of members; each costs a step in Python before its sender is known."""

MAX_KEY: Final = 200

NOT_JSON: Final = "the body is not JSON: send one JSON object or an array of them, in UTF-8"
NOT_OBJECT: Final = "the element is not a JSON object"
UNREADABLE: Final = "the element is nested too deeply, or holds a number too long, to be read"
NOT_A_NUMBER: Final = "the element contains {}, which JSON does not have: send null or leave the field out"

_SPACE: Final = re.compile(r"[ \t\n\r]*+")
# The last alternative is a quote that nothing closes: without it each one would search to the end of the text.
_MARK: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]|"', re.DOTALL)
_SCALAR: Final = re.compile(r"[^\s,\[\]{}]++")
_WRITE_KEY: Final = re.compile(r'"writeKey"\s*+:\s*+"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class TooLarge(PayloadError):
    """More bytes, or more elements, than any known sender puts into one request: 413."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a request: its own slice of the text, what it says, and why it cannot be used, if so."""

    text: str
    value: Json = None
    rotten: str | None = None


def decode(body: bytes) -> str:
    """The body as text, without a byte order mark.

    Raises: PayloadError if it is neither UTF-8 nor UTF-16/32, or contains NUL, which no JSON text can.
    """
    try:
        text = body.decode(json.detect_encoding(body))
    except UnicodeDecodeError as error:
        raise PayloadError(NOT_JSON) from error
    if "\x00" in text:
        raise PayloadError(NOT_JSON)
    return text.removeprefix("\ufeff")


def split(text: str) -> list[Element]:
    """The elements of an array, or the one element that the whole text is.

    Raises: PayloadError if the text is not JSON; TooLarge.
    """
    reader = _Reader(text)
    array = reader.peek() == "["
    quick = None if array else _quick(text)
    if quick is not None:
        return [quick]
    found = reader.array() if array else [reader.element()]
    reader.finish()
    return found


def split_member(text: str, name: str) -> tuple[dict[str, Element], list[Element] | None]:
    """The members of an object, one of which is the array that holds the elements (``data``, ``batch``).

    Returns: the other members, and the elements; None for these if there is no such array, or no object.

    Raises: PayloadError if the text is not JSON; TooLarge.
    """
    reader = _Reader(text)
    if reader.peek() == "{":
        members, found = reader.members(name)
    else:
        reader.element()
        members, found = {}, None
    reader.finish()
    return members, found


def first_slice(text: str) -> str | None:
    """The first element of an array exactly as it was sent, which is what Segment signs; None if there is none.

    Raises: PayloadError if the text up to there is not JSON.
    """
    reader = _Reader(text)
    if reader.peek() != "[":
        return None
    reader.take("[")
    return None if reader.peek() == "]" else reader.element().text


def storable(element: Element) -> Element:
    """The element as it may be stored: marked if it is no object, and without the sender's ``writeKey``.

    A write key is a secret: an element that carries one is written again without it.
    """
    if element.rotten is None and not isinstance(element.value, dict):
        element = replace(element, rotten=NOT_OBJECT)
    if element.rotten is not None:
        return replace(element, text=_WRITE_KEY.sub('"writeKey":""', element.text))
    if "writeKey" not in element.value:
        return element
    try:
        value = {name: member for name, member in _exact(element).items() if name != "writeKey"}
        return Element(dumps(value), value)
    except RecursionError:  # it could be read, from fewer calls deep
        return Element(_WRITE_KEY.sub('"writeKey":""', element.text), None, UNREADABLE)


def dedupe_key(given: Json, text: str) -> str:
    """What tells this element from others of its source: the sender's id, else a digest of the element itself.

    An id that is too long to index, or has characters that no store keeps, is replaced by its digest.
    """
    if not isinstance(given, str) or not given:
        return "body-" + hashlib.sha256(text.encode()).hexdigest()
    if len(given) > MAX_KEY or _CONTROL.search(given):
        return "long-" + hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()
    return given


def dumps(value: Json) -> str:
    """JSON text; through the standard library where orjson is stricter (lone surrogates, long integers)."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, separators=(",", ":"))


def _exact(element: Element) -> dict[str, Json]:
    """The element's value with its long integers, which orjson reads as floats, as exact as the text has them."""
    try:
        value: dict[str, Json] = json.loads(element.text)
    except (RecursionError, ValueError):
        value = element.value
    return value


def _quick(text: str) -> Element | None:
    """The whole text as one element by the fast and strict parser, None if that will not have it."""
    try:
        return Element(text.strip(" \t\r\n"), orjson.loads(text))
    except orjson.JSONDecodeError:
        return None


class _Reader:
    """A place in a text that moves forward value by value, noticing what is not quite JSON on the way."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._constants: list[str] = []
        self._decode = json.JSONDecoder(parse_constant=self._constants.append).raw_decode

    def peek(self) -> str:
        """The next character that is not white space, the empty string at the end; it is not passed."""
        start = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr] # it matches the empty string
        return self.text[start : start + 1]

    def take(self, mark: str) -> None:
        """Pass one punctuation mark, which must be next."""
        self._skip()
        if not self.text.startswith(mark, self.at):
            raise PayloadError(NOT_JSON)
        self.at += 1

    def finish(self) -> None:
        """Nothing but white space may be left."""
        if self.peek():
            raise PayloadError(NOT_JSON)

    def element(self) -> Element:
        """The next value with its slice, whatever it is."""
        self._skip()
        start = self.at
        self._constants.clear()
        rotten = None
        try:
            value, self.at = self._decode(self.text, start)
        except json.JSONDecodeError as error:
            raise PayloadError(NOT_JSON) from error
        except (RecursionError, ValueError):  # ValueError: Python refuses integers of more than 4,300 digits
            value, self.at, rotten = None, self._end(start), UNREADABLE
        if self._constants:
            rotten = NOT_A_NUMBER.format(self._constants[0])
        return Element(self.text[start : self.at], value, rotten)

    def array(self) -> list[Element]:
        """The elements of the array that starts here."""
        self.take("[")
        found: list[Element] = []
        more = self.peek() != "]"
        while more:
            if len(found) == MAX_ELEMENTS:
                raise TooLarge(f"the request has more than {MAX_ELEMENTS} elements: send smaller batches")
            found.append(self.element())
            more = self._comma()
        self.take("]")
        return found

    def members(self, array_name: str) -> tuple[dict[str, Element], list[Element] | None]:
        """The members of the object that starts here; of two with one name the last counts, as in JSON."""
        self.take("{")
        members: dict[str, Element] = {}
        found: list[Element] | None = None
        more = self.peek() != "}"
        steps = 0
        while more:
            steps += 1  # not len(members): the same name may come again and again
            if steps > MAX_MEMBERS:
                raise TooLarge(f"the request's object has more than {MAX_MEMBERS} members")
            name = self.element().value
            self.take(":")
            if not isinstance(name, str):
                raise PayloadError(NOT_JSON)
            if name == array_name and self.peek() == "[":
                found = self.array()
            else:
                members[name] = self.element()
            more = self._comma()
        self.take("}")
        return members, found

    def _comma(self) -> bool:
        if self.peek() != ",":
            return False
        self.take(",")
        return True

    def _skip(self) -> None:
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr] # it matches the empty string

    def _end(self, start: int) -> int:
        """Where the value that starts here ends, by counting brackets: for what the parser cannot follow."""
        if self.text[start] not in "[{":
            scalar = _SCALAR.match(self.text, start)
            return scalar.end() if scalar else start
        depth = 0
        for mark in _MARK.finditer(self.text, start):
            if mark[0] in ("[", "{"):
                depth += 1
            elif mark[0] in ("]", "}"):
                depth -= 1
                if depth == 0:
                    return mark.end()
            elif mark[0] == '"':
                break
        raise PayloadError(NOT_JSON)
