"""What a request's body has to look like, said as data, and the mistakes of one that does not.

``Shape.check`` adds every mistake it finds, each with the JSON pointer of the place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from connector.demo.klaviyo_standin.problems import Mistake, Problem

EMAIL: Final = re.compile(
    r"[^\s@<>,;:\"()\[\]\\]+@(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]*[a-z][a-z0-9-]*", re.I
)
PHONE: Final = re.compile(r"\+[1-9][0-9]{7,14}")
STRING_BYTES: Final = 100 * 1024
PROPERTIES: Final = 400
ARRAY_ITEMS: Final = 4_000
DEPTH: Final = 10


class Spec(Protocol):
    """Something a value is held against."""

    def check(self, value: Any, pointer: str, mistakes: list[Mistake]) -> None:
        """Add what is wrong with the value at this pointer."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string. valid says why a string of the right length is none of this kind, or None; nothing if null is fine."""

    longest: int | None = None
    shortest: int = 0
    null: bool = True
    valid: Callable[[str], str | None] | None = None

    def check(self, value: Any, pointer: str, mistakes: list[Mistake]) -> None:
        if value is None and self.null:
            return
        if not isinstance(value, str):
            mistakes.append(Mistake("Not a valid string.", pointer))
        elif len(value) < self.shortest:
            mistakes.append(Mistake(f"Shorter than minimum length {self.shortest}.", pointer))
        elif self.longest is not None and len(value) > self.longest:
            mistakes.append(Mistake(f"Longer than maximum length {self.longest}.", pointer))
        elif self.valid is not None and (reason := self.valid(value)) is not None:
            mistakes.append(Mistake(reason, pointer))


@dataclass(frozen=True, slots=True)
class Kind:
    """A value of one of Python's types; bool is no number."""

    types: tuple[type, ...]
    name: str
    null: bool = True

    def check(self, value: Any, pointer: str, mistakes: list[Mistake]) -> None:
        if value is None and self.null:
            return
        if not isinstance(value, self.types) or (isinstance(value, bool) and bool not in self.types):
            mistakes.append(Mistake(f"Not a valid {self.name}.", pointer))


@dataclass(frozen=True, slots=True)
class Word:
    """Exactly this string: a resource's type."""

    value: str

    def check(self, value: Any, pointer: str, mistakes: list[Mistake]) -> None:
        if value != self.value:
            mistakes.append(Mistake(f"'{value}' is not a valid type; expected '{self.value}'.", pointer))


@dataclass(frozen=True, slots=True)
class Shape:
    """An object with these members and no others; resource is what an unknown one is said not to belong to."""

    resource: str
    members: Mapping[str, Spec]
    required: frozenset[str] = frozenset()

    def check(self, value: Any, pointer: str, mistakes: list[Mistake]) -> None:
        if not isinstance(value, dict):
            mistakes.append(Mistake("Not a valid object.", pointer))
            return
        for name, one in value.items():
            spec = self.members.get(name)
            if spec is None:
                detail = f"'{name}' is not a valid field for the resource '{self.resource}'."
                mistakes.append(Mistake(detail, f"{pointer}/{escaped(name)}"))
            else:
                spec.check(one, f"{pointer}/{name}", mistakes)
        mistakes.extend(
            Mistake(f"'{name}' is a required field for the resource '{self.resource}'.", pointer)
            for name in self.required
            if name not in value
        )


@dataclass(frozen=True, slots=True)
class Maybe:
    """The thing, or null."""

    of: Spec

    def check(self, value: Any, pointer: str, mistakes: list[Mistake]) -> None:
        if value is not None:
            self.of.check(value, pointer, mistakes)


@dataclass(frozen=True, slots=True)
class Many:
    """A list of things alike."""

    each: Spec
    fewest: int = 1
    most: int | None = None

    def check(self, value: Any, pointer: str, mistakes: list[Mistake]) -> None:
        if not isinstance(value, list):
            mistakes.append(Mistake("Not a valid list.", pointer))
        elif len(value) < self.fewest:
            mistakes.append(Mistake(f"Shorter than minimum length {self.fewest}.", pointer))
        elif self.most is not None and len(value) > self.most:
            mistakes.append(Mistake(f"Longer than maximum length {self.most}.", pointer))
        else:
            for index, one in enumerate(value):
                self.each.check(one, f"{pointer}/{index}", mistakes)


@dataclass(frozen=True, slots=True)
class Properties:
    """An event's own properties, within the limits Klaviyo puts on them."""

    def check(self, value: Any, pointer: str, mistakes: list[Mistake]) -> None:
        if not isinstance(value, dict):
            mistakes.append(Mistake("Not a valid object.", pointer))
            return
        if len(value) > PROPERTIES:
            mistakes.append(Mistake(f"An event has at most {PROPERTIES} properties.", pointer))
        for name, one in value.items():
            _within_limits(one, f"{pointer}/{escaped(name)}", 1, mistakes)


@dataclass(frozen=True)
class Resource:
    """A JSON:API document ``{"data": {"type", "id", "attributes", …}}``, read as a whole."""

    data: Shape
    outer: Shape = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outer", Shape("document", {"data": self.data}, frozenset({"data"})))

    def read(self, document: Any) -> dict[str, Any]:
        """The document's ``data``. Raises: Problem, with every mistake of the document."""
        mistakes: list[Mistake] = []
        self.outer.check(document, "", mistakes)
        if mistakes:
            raise Problem(400, mistakes)
        data: dict[str, Any] = document["data"]
        return data


def escaped(name: str) -> str:
    """A member's name as a JSON pointer writes it. Source: https://www.rfc-editor.org/rfc/rfc6901#section-3"""
    return name.replace("~", "~0").replace("/", "~1")


def email(value: str) -> str | None:
    """Why it is no email address."""
    return None if EMAIL.fullmatch(value) else "Invalid email address"


def phone(value: str) -> str | None:
    """Why it is no phone number in E.164."""
    return None if PHONE.fullmatch(value) else "Invalid phone number format (Example of a valid format: +12345678901)"


def _within_limits(value: Any, pointer: str, depth: int, mistakes: list[Mistake]) -> None:
    if isinstance(value, str):
        if len(value) * 4 > STRING_BYTES and len(value.encode(errors="surrogatepass")) > STRING_BYTES:
            mistakes.append(Mistake(f"A string is at most {STRING_BYTES} bytes long.", pointer))
    elif isinstance(value, dict | list):
        if depth >= DEPTH:
            mistakes.append(Mistake(f"Properties are nested at most {DEPTH} deep.", pointer))
            return
        if isinstance(value, list) and len(value) > ARRAY_ITEMS:
            mistakes.append(Mistake(f"An array has at most {ARRAY_ITEMS} items.", pointer))
            return
        children = value.items() if isinstance(value, dict) else enumerate(value)
        for name, one in children:
            _within_limits(one, f"{pointer}/{escaped(str(name))}", depth + 1, mistakes)
