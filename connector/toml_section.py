"""A table of a TOML file, read key by key; what is wrong with it is noted, in sentences that name file and key."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from connector.errors import MappingError
from connector.language import UNDEFINED, Value, compile_value
from connector.messages import Json


class Section:
    """One table. Whatever is asked is answered with something of the right type; mistakes say what was not right.

    Args: where is the file; name is the table's, with its brackets, empty for the file itself.
    """

    def __init__(self, where: str, table: Mapping[str, Any], mistakes: list[str], name: str = "") -> None:
        self.where = where
        self.table = table
        self.mistakes = mistakes
        self.name = name

    def place(self, key: str) -> str:
        """``sources/acme.toml: [door] dedupe``."""
        return f"{self.where}: {self.name} {key}" if self.name else f"{self.where}: {key}"

    def wrong(self, key: str, expected: str, found: object) -> None:
        """Note a mistake."""
        self.mistakes.append(f"{self.place(key)}: expected {expected}, found {found!r}")

    def check_keys(self, known: Collection[str]) -> None:
        """Every key is one that somebody reads."""
        told = ", ".join(sorted(known))
        self.mistakes += [
            f"{self.place('has the unknown key')} '{key}'; known are {told}" for key in self.table if key not in known
        ]

    def section(self, key: str, name: str = "") -> Section:
        """A table inside this one, empty if there is none."""
        found = self.table.get(key, {})
        if not isinstance(found, dict):
            self.mistakes.append(f"{self.where}: {name or f'[{key}]'}: expected a table, found {found!r}")
            found = {}
        return Section(self.where, found, self.mistakes, name or f"[{key}]")

    def text(self, key: str, default: str = "") -> str:
        value = self.table.get(key, default)
        if not isinstance(value, str):
            self.wrong(key, "text", value)
        return str(value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.table.get(key, ())
        if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(one, str) for one in value):
            self.wrong(key, "a list of texts", value)
            return ()
        return tuple(value)

    def flag(self, key: str) -> bool:
        value = self.table.get(key, False)
        if not isinstance(value, bool):
            self.wrong(key, "true or false", value)
        return value is True

    def whole(self, key: str, default: int) -> int:
        """A whole number from 1 up to the default."""
        value = self.table.get(key, default)
        if type(value) is not int or not 1 <= value <= default:
            self.wrong(key, f"a whole number from 1 to {default}", value)
            return default
        return value

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        value = self.table.get(key, default)
        if value not in choices:
            self.wrong(key, f"one of {', '.join(choices)}", value)
        return str(value)

    def looked_up(self, key: str, spec: Json) -> Value:
        """A value that is found in the payload: a bare text would be the same for every event, and is none."""
        self.check_looked_up(key, spec)
        return self.value(key, spec)

    def check_looked_up(self, key: str, spec: Json) -> None:
        """Note it where a value says the same of every event."""
        if not isinstance(spec, list) and not (isinstance(spec, dict) and any(name[:1] == "@" for name in spec)):
            meant = f'["{spec}"]' if isinstance(spec, str) else '["path"]'
            self.wrong(key, f"paths to try, such as {meant}, or a directive", spec)

    def value(self, key: str, spec: Json) -> Value:
        """A value in the mapping language, compiled. Args: key is what it is called if something is wrong."""
        try:
            return compile_value(spec, self.place(key))
        except MappingError as error:
            self.mistakes.extend(error.mistakes)
            return lambda _payload: UNDEFINED
