"""The floors: the same work without the product, as bare as it can be written and still be durable."""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import orjson

CREATE = (
    "create table inbox (id integer primary key, source text, message_id text, body text, unique (source, message_id))"
)
INSERT = "insert into inbox (source, message_id, body) values ('segment', ?, ?) on conflict do nothing"


def _open(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=full")
    return connection


def group_commit(folder: Path, events: Sequence[bytes], threads: int = 32) -> float:
    """Events a second through one writer thread that commits for all of 32 waiting threads; no HTTP."""
    connection = _open(folder / "group.db")
    connection.execute(CREATE)
    waiting: queue.SimpleQueue[tuple[str, str, threading.Event] | None] = queue.SimpleQueue()

    def write() -> None:
        going = True
        while going:
            batch = [waiting.get()]
            while not waiting.empty():
                batch.append(waiting.get())
            going = None not in batch
            rows = [one for one in batch if one is not None]
            connection.execute("begin immediate")
            connection.executemany(INSERT, [row[:2] for row in rows])
            connection.execute("commit")
            for row in rows:
                row[2].set()

    def ask(number: int) -> None:
        for at in range(number, len(events), threads):
            done = threading.Event()
            waiting.put((str(at), events[at].decode(), done))
            done.wait()

    writer = threading.Thread(target=write)
    writer.start()
    seconds = _timed([threading.Thread(target=ask, args=(number,)) for number in range(threads)])
    waiting.put(None)
    writer.join()
    return len(events) / seconds


def one_transaction(folder: Path, events: Sequence[bytes]) -> float:
    """Events a second into one big transaction."""
    connection = _open(folder / "one.db")
    connection.execute(CREATE)
    began = time.perf_counter()
    connection.execute("begin immediate")
    connection.executemany(INSERT, [(str(at), event.decode()) for at, event in enumerate(events)])
    connection.execute("commit")
    return len(events) / (time.perf_counter() - began)


def batch_stitch(folder: Path, events: Sequence[bytes], size: int = 1_000) -> float:
    """Events a second of the bare batch algorithm: read, parse, look up, join in memory, write, one commit a batch.

    No rules, no times, no reasons: identifiers with a component, links, one decision row a message, one outbox row
    an email event.
    """
    connection = _open(folder / "stitch.db")
    connection.execute(CREATE)
    connection.execute("create table identifiers (id integer primary key, value text unique, component int)")
    connection.execute("create index components on identifiers (component)")
    connection.execute("create table links (a int, b int, primary key (a, b)) without rowid")
    connection.execute("create table decisions (id integer primary key, outcome text, person int)")
    connection.execute("create table outbox (id integer primary key, inbox_id int, body text)")
    connection.execute("begin")
    connection.executemany(INSERT, [(str(at), event.decode()) for at, event in enumerate(events)])
    connection.execute("commit")
    began = time.perf_counter()
    for start in range(0, len(events), size):
        connection.execute("begin immediate")
        _stitch(
            connection, connection.execute("select id, body from inbox where id > ? limit ?", (start, size)).fetchall()
        )
        connection.execute("commit")
    return len(events) / (time.perf_counter() - began)


def _stitch(connection: sqlite3.Connection, rows: Sequence[tuple[int, str]]) -> None:
    parsed = [(number, orjson.loads(body)) for number, body in rows]
    named = [(number, call, _values(call)) for number, call in parsed]
    wanted = orjson.dumps(sorted({value for _, _, values in named for value in values})).decode()
    known = {
        value: (number, component)
        for number, value, component in connection.execute(
            "select id, value, component from identifiers where value in (select value from json_each(?))", (wanted,)
        )
    }
    last = connection.execute("select coalesce(max(id), 0) from identifiers").fetchone()[0]
    fresh, links, moved = [], Counter[tuple[int, int]](), {}
    for _, _, values in named:
        for value in values:
            if value not in known:
                last += 1
                known[value] = (last, last)
                fresh.append(value)
        first = known[values[0]]
        for value in values[1:]:
            links[first[0], known[value][0]] += 1
            if known[value][1] != first[1]:
                moved[known[value][1]] = first[1]
                known[value] = (known[value][0], first[1])
    connection.executemany("insert into identifiers values (?, ?, ?)", [(known[v][0], v, known[v][1]) for v in fresh])
    connection.executemany(
        "update identifiers set component = ? where component = ?", [(b, a) for a, b in moved.items()]
    )
    connection.executemany("insert into links values (?, ?) on conflict do nothing", list(links))
    connection.executemany(
        "insert into decisions values (?, ?, ?)", [(number, "x", known[values[0]][1]) for number, _, values in named]
    )
    connection.executemany(
        "insert into outbox (inbox_id, body) values (?, ?)",
        [(number, orjson.dumps(call).decode()) for number, call, _ in named if call["type"] == "track"],
    )


def _values(call: dict[str, object]) -> list[str]:
    traits = call.get("traits")
    email = traits.get("email") if isinstance(traits, dict) else None
    return [str(value) for value in (call.get("userId"), email, call.get("anonymousId")) if value]


def _timed(threads: Sequence[threading.Thread]) -> float:
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began
