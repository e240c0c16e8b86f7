"""History from a file: Segment calls, or rows of a warehouse, into the inbox like anything else that arrives.

For the cold start: what was known before the connector came is learned as evidence, and nothing of it is sent. Batches
are short transactions that remember how far they came, so an interrupted import goes on; and because message ids
depend on content, importing again, a part or all of it, adds nothing. Memory is bounded by one batch.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import orjson
import sqlalchemy as sa

from connector import bulk, inbox
from connector.errors import ConnectorError, StoreUnavailable
from connector.history import STDIN, Entry, entries, opened
from connector.messages import Milliseconds, now_ms
from connector.store import Store
from connector.tables import facts

BATCH: Final = 1_000

LINES: Final = 10
"""How many lines are named of what is otherwise only counted."""

PATIENCE: Final = 10
"""How often a batch is tried while the store is busy, a second apart."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file's records. first_line is greater than 1 if an earlier import was continued.

    without_address counts records whose email is none; address_lines are where the first of them are.
    """

    file: str
    first_line: int = 1
    lines: int = 0
    stored: int = 0
    duplicates: int = 0
    unusable: int = 0
    nothing_to_learn: int = 0
    without_time: int = 0
    without_address: int = 0
    address_lines: tuple[int, ...] = ()
    empty_lines: int = 0
    ignored_columns: tuple[str, ...] = ()


Report = Callable[[str, str], None]
"""Told the line or lines and what is wrong there."""

Progress = Callable[[int], None]
"""Told how many bytes of the file were read since the last time."""


def import_file(
    store: Store,
    path: str,
    *,
    report: Report,
    progress: Progress,
    learn: Callable[[], object],
    now: Callable[[], Milliseconds] = now_ms,
) -> Imported:
    """Put a file's records into the inbox, from where an interrupted import of the same file ended.

    Args: path may end in ``.gz`` and be ``-`` for standard input; learn is called after every batch, with no
    transaction open.

    Raises: ConnectorError if the file cannot be read, or is neither JSON Lines nor CSV with our columns.
    """
    fact = None if path == STDIN else _fact(path)
    done = _progress(store, fact)
    told = Imported(path, first_line=done + 1)
    with opened(path) as file:
        position = 0
        for batch in _batches(entries(file, done, now)):
            for entry in batch:
                for reason in entry.reasons:
                    report(entry.where, reason)
            kept = _store(store, batch, fact)
            told = _added(told, batch, kept)
            learn()
            position, before = file.raw.tell() if path != STDIN else 0, position
            progress(position - before)
        return replace(told, ignored_columns=file.ignored_columns, empty_lines=file.empty)


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    for entry in entries:
        batch.append(entry)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _store(store: Store, batch: list[Entry], fact: str | None) -> inbox.Kept:
    """The batch and how far we are, in one transaction. A store that is busy for some seconds is waited for."""
    received = [entry.received for entry in batch if entry.received]
    for left in reversed(range(PATIENCE)):
        try:
            with store.writing() as tx:
                kept = inbox.store(tx, received)
                if fact:
                    _remember(tx, fact, batch[-1].line)
            return kept
        except StoreUnavailable:
            if not left:
                raise
            time.sleep(1)
    raise AssertionError("unreachable")


def _added(told: Imported, batch: list[Entry], kept: inbox.Kept) -> Imported:
    no_address = [entry.line for entry in batch if entry.no_address]
    return replace(
        told,
        lines=told.lines + len(batch),
        stored=told.stored + kept.stored,
        duplicates=told.duplicates + kept.duplicates,
        unusable=told.unusable + sum(bool(entry.reasons) for entry in batch),
        nothing_to_learn=told.nothing_to_learn + sum(entry.received is None for entry in batch),
        without_time=told.without_time + sum(not entry.timed and not entry.reasons for entry in batch),
        without_address=told.without_address + len(no_address),
        address_lines=(*told.address_lines, *no_address)[:LINES],
    )


def _fact(path: str) -> str:
    """What tells this file, as it is now, from any other: a file that has changed is read from its beginning."""
    try:
        file = Path(path).resolve()
        about = file.stat()
    except OSError as error:
        raise ConnectorError(f"{path}: {error.strerror}") from error
    told = f"{file}\x1f{about.st_size}\x1f{about.st_mtime_ns}".encode(errors="surrogateescape")
    return f"import:{hashlib.sha256(told).hexdigest()[:32]}"


def _progress(store: Store, fact: str | None) -> int:
    if fact is None:
        return 0
    with store.reading() as tx:
        value = tx.execute(sa.select(facts.c.value).where(facts.c.name == fact)).scalar()
    return 0 if value is None else int(orjson.loads(value)["line"])


def _remember(tx: sa.Connection, fact: str, line: int) -> None:
    value = orjson.dumps({"line": line}).decode()
    bulk.insert_rows(
        tx, facts, ("name", "value"), [(fact, value)], "on conflict (name) do update set value = excluded.value"
    )
