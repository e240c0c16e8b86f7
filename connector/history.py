"""What the lines of a history file mean: Segment calls as JSON Lines, or a warehouse's rows as CSV.

Every line has a message id that depends on its content alone. What cannot be used comes with its reasons and is kept
as far as a text can hold it. Used by ``importing``.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Final

from connector import schema
from connector.elements import Element, dumps, split, storable
from connector.errors import ConnectorError, InvalidMessage, PayloadError
from connector.identifiers import NORMALISERS
from connector.messages import Json, Milliseconds, Received, iso, parse_time
from connector.sources import received

SOURCE: Final = "import"
STDIN: Final = "-"
COLUMNS: Final = {"user_id": "userId", "anonymous_id": "anonymousId", "email": "email", "timestamp": "timestamp"}

MAX_LINE_BYTES: Final = 1024 * 1024
"""A Segment event has at most 32 KB; a longer line is not one."""

KEPT_CHARACTERS: Final = 10_000
"""How much of a line that cannot be read is kept."""

NOT_LINES: Final = "{}: it is one JSON array; an import needs one call a line (jq -c '.[]' makes it so)"
NO_DELETE: Final = "delete is not imported: only the signed Segment webhook and the operator may forget a person"


@dataclass(frozen=True, slots=True)
class Entry:
    """What one record of a file is. line is where it ends, which is where an interrupted import goes on.

    received is None if there is nothing to learn from it; reasons say what is wrong with it, if anything is. began is
    where it begins if that is another line. no_address: it has an email that is none, and is of use without.
    """

    line: int
    received: Received | None
    reasons: tuple[str, ...] = ()
    timed: bool = True
    began: int | None = None
    no_address: bool = False

    @property
    def where(self) -> str:
        """``line 4``, or ``lines 2 to 4``."""
        return f"line {self.line}" if self.began in (None, self.line) else f"lines {self.began} to {self.line}"


@dataclass(slots=True)
class File:
    """A file being read: lines as bytes, bounded, unpacked, and how far we are."""

    path: str
    stream: IO[bytes]
    raw: IO[bytes]
    line: int = 0
    empty: int = 0
    too_long: bool = False
    ignored_columns: tuple[str, ...] = field(default=())

    def lines(self) -> Iterator[bytes]:
        """The lines that are left. Of one that is too long only the beginning comes, with ``too_long`` set."""
        while text := self._read():
            self.line += 1
            self.too_long = len(text) == MAX_LINE_BYTES and not text.endswith(b"\n")
            rest = text
            while self.too_long and rest and not rest.endswith(b"\n"):
                rest = self._read()
            yield text.removeprefix(b"\xef\xbb\xbf") if self.line == 1 else text

    def _read(self) -> bytes:
        try:
            return self.stream.readline(MAX_LINE_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or "the archive is damaged or cut off"
            raise ConnectorError(f"{self.path}: {reason}; everything before line {self.line} was imported") from error


@contextmanager
def opened(path: str) -> Iterator[File]:
    """The file, unpacked if it is gzipped, whatever its name.

    Raises: ConnectorError if it cannot be opened.
    """
    if path == STDIN:
        raw: IO[bytes] = sys.stdin.buffer
        yield File("standard input", raw, raw)
        return
    try:
        raw = Path(path).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise ConnectorError(f"{path}: {error.strerror}") from error
    with raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        yield File(path, gzip.GzipFile(fileobj=raw) if packed else raw, raw)  # type: ignore[arg-type] # it reads like one


def entries(file: File, done: int, now: Callable[[], Milliseconds]) -> Iterator[Entry]:
    """The records after line ``done``, whichever of the two formats the file has."""
    lines = file.lines()
    first = next((line for line in lines if line.strip()), b"")
    start = first.lstrip()[:1]
    if start == b"[":
        raise ConnectorError(NOT_LINES.format(file.path))
    if start in (b"{", b""):
        yield from _calls(file, _chain(file, first, lines), done, now)
    else:
        yield from _rows(file, first, lines, done, now)


def _chain(file: File, first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


# -- Segment calls ------------------------------------------------------------------------------------------------


def _calls(file: File, lines: Iterable[bytes], done: int, now: Callable[[], Milliseconds]) -> Iterator[Entry]:
    for line in lines:
        if file.line <= done:
            continue
        if not line.strip():
            file.empty += 1
        else:
            yield _too_long(file, line, now()) if file.too_long else _call(file.line, line, now())


def _call(number: int, line: bytes, now: Milliseconds) -> Entry:
    try:
        text = line.decode()
        found = split(text)
    except (UnicodeDecodeError, PayloadError):
        return _rotten(number, line, "the line is not JSON in UTF-8", now)
    if len(found) != 1 or text.lstrip().startswith("["):
        return _rotten(number, line, "the line is an array: expected one call, a JSON object", now)
    element = storable(found[0])
    call = element.value if isinstance(element.value, dict) else {}
    if call.get("type") == "delete":
        element = replace(element, rotten=NO_DELETE)
    timed = parse_time(call.get("timestamp")) is not None
    traits = call.get("traits")
    address = traits.get("email") if isinstance(traits, dict) else None
    kept = received(SOURCE, element, call.get("messageId"), now)
    return Entry(number, kept, _reasons(element), timed, no_address=_is_no_address(address))


def _reasons(element: Element) -> tuple[str, ...]:
    """What validation will say about this call: its words come here, where the number of the line is known."""
    if element.rotten:
        return (element.rotten,)
    try:
        schema.check(element.value)
    except InvalidMessage as error:
        return error.reasons
    return ()


# -- rows of a warehouse ------------------------------------------------------------------------------------------


def _rows(
    file: File, header: bytes, lines: Iterator[bytes], done: int, now: Callable[[], Milliseconds]
) -> Iterator[Entry]:
    names = _header(file, header)
    for _ in range(done - file.line):
        next(lines, None)
    reader = csv.reader(line.decode(errors="surrogateescape") for line in lines)
    while True:
        began = file.line + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            where = f"{file.path} lines {began} to {file.line}"
            row = where.encode("utf-8", "surrogateescape")
            yield replace(_rotten(file.line, row, f"the row is not CSV: {error}", now()), began=began)
            continue
        if cells is None:
            return
        if file.too_long:
            yield _too_long(file, ",".join(cells).encode("utf-8", "surrogateescape"), now())
        elif any(cell.strip() for cell in cells):
            yield replace(_row(file.line, names, cells, now(), lines=file.line - began + 1), began=began)
        else:
            file.empty += 1


def _header(file: File, header: bytes) -> list[str]:
    """The name of each column, in lower case.

    Raises: ConnectorError if none of ours, or nothing that could be linked, is among them.
    """
    try:
        names = [name.strip().lower() for name in next(csv.reader([header.decode()]), [])]
    except (UnicodeDecodeError, csv.Error):
        names = []
    known = [name for name in names if name in COLUMNS]
    if len(set(known) - {"timestamp"}) < 2 or len(known) != len(set(known)):
        raise ConnectorError(
            f"{file.path}: it begins neither with a JSON object nor with the header of a CSV file in UTF-8 that has at"
            " least two of the columns user_id, anonymous_id, email, and their timestamp"
        )
    file.ignored_columns = tuple(name for name in names if name not in COLUMNS)
    return names


def _row(number: int, names: list[str], cells: list[str], now: Milliseconds, lines: int = 1) -> Entry:
    line = ",".join(cells).encode("utf-8", "surrogateescape")
    if len(cells) != len(names):
        reason = f"the row has {_cells(len(cells))}, the header has {len(names)}"
        reason += "; is a quotation mark never closed?" if lines > 1 else ""
        return _rotten(number, line, reason, now)
    try:
        line.decode()
    except UnicodeDecodeError:
        return _rotten(number, line, "the row is not text in UTF-8", now)
    given = {COLUMNS[name]: cell.strip() for name, cell in zip(names, cells, strict=True) if name in COLUMNS}
    given = {name: cell.replace("\x00", "") for name, cell in given.items() if cell}
    at = _time(given.pop("timestamp", None))
    if isinstance(at, str):
        return _rotten(number, line, at, now)
    if len(given) < 2:
        return Entry(number, None)
    call = _identify(given, at)
    text = dumps(call)
    digest = hashlib.sha256(text.encode()).hexdigest()
    kept = Received(SOURCE, digest, text, now)
    no_address = _is_no_address(given.get("email"))
    return Entry(number, kept, _reasons(Element(text, call)), at is not None, no_address=no_address)


def _cells(n: int) -> str:
    return "1 cell" if n == 1 else f"{n} cells"


def _identify(given: Mapping[str, str], at: Milliseconds | None) -> dict[str, Json]:
    call: dict[str, Json] = {"type": "identify"}
    call |= {name: given[name] for name in ("userId", "anonymousId") if name in given}
    if "email" in given:
        call["traits"] = {"email": given["email"]}
    if at is not None:
        call["timestamp"] = iso(at)
    return call


def _time(text: str | None) -> Milliseconds | str | None:
    """The time of a row; what is wrong with it as text. Warehouses also write `` UTC``, and seconds since 1970."""
    if text is None:
        return None
    if text.isdecimal() and len(text) in (10, 13):
        return int(text) * (1000 if len(text) == 10 else 1)
    at = parse_time(text.removesuffix(" UTC"))
    # Its own time of receipt would make an old row the newest of all, and its person the browser's owner.
    return (
        "the timestamp is unreadable: expected ISO 8601, as 2026-01-31T10:00:00Z, or seconds since 1970"
        if at is None
        else at
    )


def require(path: str) -> None:
    """Raises: ConnectorError if the file cannot be read, or is neither JSON Lines nor CSV with our columns."""
    with opened(path) as file:
        next(entries(file, 0, lambda: 0), None)


# -- both ---------------------------------------------------------------------------------------------------------


def _is_no_address(email: Json) -> bool:
    """Is there something where an email should be that is none?"""
    return isinstance(email, str) and bool(email.strip()) and not NORMALISERS["email"](email)


def _too_long(file: File, line: bytes, now: Milliseconds) -> Entry:
    return _rotten(file.line, line, f"the line is longer than {MAX_LINE_BYTES} bytes", now)


def _rotten(number: int, line: bytes, reason: str, now: Milliseconds) -> Entry:
    """A line that cannot be used, kept as it is as far as a text can hold it."""
    text = line.decode(errors="replace").strip().replace("\x00", "\ufffd")[:KEPT_CHARACTERS]
    element = storable(Element(text, rotten=reason))
    digest = hashlib.sha256(line.strip()).hexdigest()
    return Entry(number, Received(SOURCE, f"body-{digest}", element.text, now, rotten=reason), (reason,))
