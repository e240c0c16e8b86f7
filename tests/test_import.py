"""History from files: what is learned, what is refused, and that interrupting and repeating changes nothing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from connector import bootstrap, config, counters, history, importing, inbox
from connector.cli import main
from connector.importing import Imported
from connector.lock import StoreLock
from connector.messages import now_ms
from connector.store import Store
from connector.tables import facts, messages, outbox
from connector.tables import inbox as rows
from connector.worker import stitch_once

Run = Callable[..., Result]

CSV = """\
timestamp,Email,USER_ID,anonymous_id,plan
2026-01-01 10:00:00 UTC,jane@x.test,user-1,browser-1,pro
1767261600,tom@x.test,,browser-2,
2026-01-03T10:00:00Z,,user-1,browser-3,pro
"""

CALLS: list[dict[str, Any]] = [
    {"type": "identify", "messageId": "m1", "anonymousId": "b1", "traits": {"email": "jane@x.test"}},
    {"type": "track", "event": "Bought", "messageId": "m2", "anonymousId": "b1", "userId": "u1"},
    {
        "type": "track",
        "event": "Email Opened",
        "messageId": "m3",
        "anonymousId": "jane@x.test",
        "context": {"integration": {"name": "Klaviyo"}, "traits": {"email": "jane@x.test"}},
    },
]


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONNECTOR_SECRET", "a secret of the tests")


@pytest.fixture
def there(store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A migrated, empty store that the commands will find."""
    monkeypatch.setenv("DATABASE_URL", store_url)
    return store


def run(*line: str, status: int = 0, input: bytes | None = None) -> Result:  # noqa: A002 - click's name
    result = CliRunner().invoke(main, line, input=input)
    assert isinstance(result.exception, SystemExit | type(None)), result.exception
    assert result.exit_code == status, result.output
    return result


def told(result: Result) -> list[str]:
    """What was said about the files; PostgreSQL is served by somebody else, which is said too."""
    return [line for line in result.stdout.splitlines() if not line.startswith("The process that serves")]


def imported(name: str, **options: Any) -> Imported:
    (one,) = json.loads(run("import", "--json", name, **options).stdout)
    tuples = {name: tuple(value) for name, value in one.items() if isinstance(value, list)}
    return Imported(**{**one, **tuples})


def stitch(store: Store) -> None:
    house = bootstrap.open_house(config.read())
    while stitch_once(store, house, now_ms()):
        pass


def lines(*calls: Any) -> str:
    return "".join(json.dumps({"timestamp": "2026-01-01T10:00:00Z", **call}) + "\n" for call in calls)


def profiles() -> list[list[tuple[str, str]]]:
    """The identifiers and browsers of every person."""
    found = []
    for line in run("export", "profiles").stdout.splitlines():
        told = json.loads(line)
        named = [(one["type"], one["value"]) for one in told["identifiers"]]
        found.append(named + sorted(("browser", one["anonymous_id"]) for one in told["browsers"]))
    return sorted(found)


def outcomes(store: Store) -> dict[str, int]:
    with store.reading() as tx:
        rows = tx.execute(sa.select(messages.c.outcome, sa.func.count().label("n")).group_by(messages.c.outcome))
        return {row.outcome: row.n for row in rows}


def left(store: Store) -> int:
    with store.reading() as tx:
        return int(tx.execute(sa.select(sa.func.count()).select_from(outbox)).scalar_one())


JANE_AND_TOM = [
    [("email", "tom@x.test"), ("browser", "browser-2")],
    [("user_id", "user-1"), ("email", "jane@x.test"), ("browser", "browser-1"), ("browser", "browser-3")],
]


def test_a_warehouse_table_is_learned_and_sends_nothing(there: Store) -> None:
    Path("h.csv").write_text(CSV)
    told = imported("h.csv")
    assert told == Imported("h.csv", lines=3, stored=3, ignored_columns=("plan",))
    stitch(there)
    assert profiles() == JANE_AND_TOM
    assert outcomes(there) == {"learned": 3}
    assert left(there) == 0


def test_calls_are_learned_and_their_email_events_only_as_evidence(there: Store) -> None:
    Path("h.jsonl").write_text(lines(*CALLS))
    assert imported("h.jsonl") == Imported("h.jsonl", lines=3, stored=3)
    stitch(there)
    assert outcomes(there) == {"learned": 2, "ignored": 1}
    assert left(there) == 0


def test_an_import_releases_what_was_held(there: Store) -> None:
    from tests.test_cli import email_event, feed

    feed(there, email_event("held", "jane@x.test"))
    Path("h.csv").write_text(CSV)
    imported("h.csv")
    stitch(there)
    assert outcomes(there) == {"learned": 3, "stitched_late": 1}


@pytest.mark.parametrize("name", ["h.csv.gz", "h.csv"])
def test_a_gzipped_file_is_unpacked_whatever_its_name(there: Store, name: str) -> None:
    Path(name).write_bytes(gzip.compress(CSV.encode()))
    assert imported(name).stored == 3


def test_standard_input_and_a_byte_order_mark(there: Store) -> None:
    assert imported("-", input=b"\xef\xbb\xbf" + CSV.encode()).stored == 3
    assert imported("-", input=CSV.encode()).duplicates == 3


def test_importing_again_changes_nothing(there: Store) -> None:
    Path("h.csv").write_text(CSV)
    run("import", "h.csv")
    assert run("import", "h.csv").stdout.endswith("h.csv: nothing new; all of it was imported before\n")
    Path("other.csv").write_text(CSV + "2026-01-04,kim@x.test,user-2,browser-4,\n")
    assert imported("other.csv") == Imported("other.csv", lines=4, stored=1, duplicates=3, ignored_columns=("plan",))


def test_a_row_is_the_same_whatever_its_columns_order_and_spaces(there: Store) -> None:
    Path("a.csv").write_text("user_id,anonymous_id,email,timestamp\nu1,b1,jane@x.test,2026-01-01T10:00:00Z\n")
    Path("b.csv").write_text("timestamp,email,anonymous_id,user_id\n2026-01-01 10:00:00 UTC, jane@x.test ,b1,u1\n")
    assert imported("a.csv").stored == 1
    assert imported("b.csv").duplicates == 1


def test_a_call_is_the_same_wherever_it_stands_with_or_without_an_id(there: Store) -> None:
    nameless = {"type": "identify", "userId": "u9", "anonymousId": "b9"}
    Path("a.jsonl").write_text(lines(*CALLS, nameless))
    Path("b.jsonl").write_text(lines(nameless, *reversed(CALLS)))
    assert imported("a.jsonl").stored == 4
    assert imported("b.jsonl") == Imported("b.jsonl", lines=4, duplicates=4)
    with there.reading() as tx:
        ids = list(tx.scalars(sa.select(rows.c.message_id).order_by(rows.c.message_id)))
        conflicts = counters.read(tx).get("conflicting_duplicates", 0)
    assert [one.partition("-")[0] for one in ids] == ["body", "m1", "m2", "m3"]
    assert conflicts == 0


def test_bad_lines_are_named_kept_and_do_not_stop_the_rest(there: Store) -> None:
    bad = [
        ("{", "the line is not JSON in UTF-8"),
        ("[{}]", "the line is an array: expected one call, a JSON object"),
        ("7", "the element is not a JSON object"),
        ('{"type":"track","userId":7,"event":"x"}', "userId: expected text, found a number"),
        ('{"type":"identify","userId":"u","traits":{"n":NaN}}', history_of("NaN")),
        ('{"type":"delete","userId":"u"}', history.NO_DELETE),
    ]
    good = json.dumps({**CALLS[0], "timestamp": "2026-01-01T10:00:00Z"})
    Path("h.jsonl").write_text("\n".join([good, "", *(line for line, _ in bad), good.replace("m1", "m9")]))
    result = run("import", "h.jsonl")
    named = [line for line in result.stdout.splitlines() if ": line " in line]
    assert result.stderr == ""
    assert named == [f"h.jsonl: line {n}: {reason}" for n, (_, reason) in enumerate(bad, 3)]
    assert told(result)[-2:] == [
        "h.jsonl: 8 records: 8 new (1 empty line passed over)",
        "h.jsonl: 6 records could not be used and were kept as quarantined",
    ]
    stitch(there)
    assert outcomes(there) == {"learned": 2, "quarantined": 6}


def history_of(constant: str) -> str:
    return f"the element contains {constant}, which JSON does not have: send null or leave the field out"


def test_bad_rows_are_named_kept_and_do_not_stop_the_rest(there: Store) -> None:
    rows = [
        b"user_id,anonymous_id,email,timestamp",
        b"u1,b1,jane@x.test,yesterday",
        b"u1,b1",
        b"u\xff,b1,jane@x.test,2026-01-01",
        b",b1,,2026-01-01",
        b",,,",
        b'u1,"b1,jane@x.test,' + b"x" * 200_000,
        b"u2,b2,tom@x.test,",
        b"u3,b3,tom at home,2026-01-01",
    ]
    Path("h.csv").write_bytes(b"\n".join(rows) + b"\n")
    result = run("import", "h.csv")
    assert told(result) == [
        "h.csv: line 2: the timestamp is unreadable: expected ISO 8601, as 2026-01-31T10:00:00Z, or seconds since 1970",
        "h.csv: line 3: the row has 2 cells, the header has 4",
        "h.csv: line 4: the row is not text in UTF-8",
        "h.csv: line 7: the row is not CSV: field larger than field limit (131072)",
        "h.csv: 7 records: 6 new, 1 skipped for having fewer than two identifiers (1 empty line passed over)",
        "h.csv: 4 records could not be used and were kept as quarantined",
        "h.csv: 1 address could not be used (line 9)",
        "h.csv: 1 record without a timestamp: taken as of now",
    ]
    assert imported("h.csv").lines == 0
    stitch(there)
    assert outcomes(there) == {"learned": 2, "quarantined": 4}


def test_a_quotation_mark_that_is_never_closed_is_told_with_all_its_lines(there: Store) -> None:
    rows = ['u1,"b1,jane@x.test,2026-01-01', "u2,b2,tom@x.test,2026-01-01", "u3,b3,kim@x.test,2026-01-01"]
    Path("h.csv").write_text("\n".join(["user_id,anonymous_id,email,timestamp", *rows]) + "\n")
    assert run("import", "h.csv").stdout.splitlines()[0] == (
        "h.csv: lines 2 to 4: the row has 2 cells, the header has 4; is a quotation mark never closed?"
    )


def test_addresses_that_are_none_are_counted_and_their_lines_named(there: Store) -> None:
    bad = {**CALLS[0], "traits": {"email": "jane(at)x.test"}}
    Path("h.jsonl").write_text(lines(*({**bad, "messageId": f"n{n}"} for n in range(12)), CALLS[0]))
    said = told(run("import", "h.jsonl"))
    assert "h.jsonl: 12 addresses could not be used (lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …)" in said


def test_with_json_nothing_else_is_on_standard_output(there: Store) -> None:
    Path("h.csv").write_text("user_id,email\nu1\nu2,tom at home\n")
    result = run("import", "--json", "h.csv")
    (one,) = json.loads(result.stdout)
    assert (one["unusable"], one["without_address"], one["address_lines"]) == (1, 1, [3])
    assert "h.csv: line 2: the row has 1 cell, the header has 2\n" in result.stderr


@pytest.mark.parametrize("content", [None, b"name,age\na,1\n"])
def test_what_cannot_be_imported_makes_no_database(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        Path("h.csv").write_bytes(content)
    run("import", "h.csv", status=1)
    assert [one.name for one in tmp_path.iterdir() if "connector" in one.name] == []


def test_a_line_without_end_is_cut_and_the_next_one_read(there: Store, monkeypatch: Any) -> None:
    monkeypatch.setattr(history, "MAX_LINE_BYTES", 1000)
    Path("h.jsonl").write_text(lines(CALLS[0], {**CALLS[1], "properties": {"x": "y" * 5000}}, CALLS[1]))
    result = run("import", "h.jsonl")
    assert "h.jsonl: line 2: the line is longer than 1000 bytes\n" in result.stdout
    assert "h.jsonl: 3 records: 3 new\n" in result.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[\n{}\n]", "it is one JSON array"),
        (b"name,age\na,1\n", "it begins neither with a JSON object nor with the header"),
        (b"user_id,timestamp\nu,2026-01-01\n", "at least two of the columns"),
        (b"user_id,user_id,email\n", "at least two of the columns"),
        (CSV.encode("utf-16"), "it begins neither"),
        (gzip.compress(CSV.encode() * 5000)[:200], "the archive is damaged or cut off"),
    ],
)
def test_what_is_no_history_is_refused_in_words(there: Store, content: bytes, words: str) -> None:
    Path("h").write_bytes(content)
    assert words in run("import", "h", status=1).stderr


def test_a_file_that_is_not_there_is_refused(there: Store) -> None:
    assert run("import", "nope.csv", status=1).stderr == "Error: nope.csv: No such file or directory\n"


def test_an_interrupted_import_goes_on_where_it_ended(there: Store, monkeypatch: Any) -> None:
    monkeypatch.setattr(importing, "BATCH", 10)
    rows = [f"user-{n},browser-{n},,2026-01-01" for n in range(100)]
    Path("h.csv").write_text("\n".join(["user_id,anonymous_id,email,timestamp", *rows]) + "\n")
    batches = 0

    def give_up() -> None:
        nonlocal batches
        batches += 1
        if batches == 4:
            raise KeyboardInterrupt

    def ignore(*_: object) -> None:
        """Nobody listens."""

    with pytest.raises(KeyboardInterrupt):
        importing.import_file(there, "h.csv", report=ignore, progress=ignore, learn=give_up)
    told = importing.import_file(there, "h.csv", report=ignore, progress=ignore, learn=ignore)
    assert told == Imported("h.csv", first_line=42, lines=60, stored=60)
    with there.reading() as tx:
        assert inbox.waiting(tx) == 100


def test_a_file_that_changed_is_read_from_its_beginning(there: Store) -> None:
    Path("h.csv").write_text(CSV)
    run("import", "h.csv")
    Path("h.csv").write_text(CSV + "2026-01-04,kim@x.test,user-2,browser-4,\n")
    assert imported("h.csv") == Imported("h.csv", lines=4, stored=1, duplicates=3, ignored_columns=("plan",))
    with there.reading() as tx:
        kept = tx.execute(sa.select(facts.c.name).where(facts.c.name.like("import:%"))).all()
    assert len(kept) == 2


def test_a_cold_start_makes_the_database_and_stitches_by_itself(tmp_path: Path) -> None:
    Path("h.csv").write_text(CSV)
    assert run("import", "h.csv").stdout == "h.csv: columns not used: plan\nh.csv: 3 records: 3 new\n"
    assert profiles() == JANE_AND_TOM


def test_beside_a_serving_process_the_rows_wait_for_it(sqlite_store: Store, sqlite_url: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    lock = StoreLock(sqlite_url)
    lock.acquire()
    Path("h.csv").write_text(CSV)
    assert run("import", "h.csv").stdout == (
        "h.csv: columns not used: plan\nh.csv: 3 records: 3 new\n"
        "The process that serves this database is learning from them now.\n"
    )
    lock.release()
    with sqlite_store.reading() as tx:
        assert inbox.waiting(tx) == 3


def test_a_store_that_is_busy_for_a_moment_is_waited_for(
    sqlite_store: Store, sqlite_url: str, monkeypatch: Any
) -> None:
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    Path("h.csv").write_text(CSV)
    monkeypatch.setattr("connector.store.LOCK_SECONDS", 0.05)
    blocker = sqlite_store.engine.connect()
    blocker.exec_driver_sql("begin immediate")
    waited = []

    def free(seconds: float) -> None:
        waited.append(seconds)
        blocker.exec_driver_sql("rollback")
        blocker.close()

    monkeypatch.setattr("connector.importing.time.sleep", free)
    from connector.store import open_store

    impatient = open_store(sqlite_url)
    told = importing.import_file(
        impatient, "h.csv", report=lambda *_: None, progress=lambda _: None, learn=lambda: None
    )
    impatient.dispose()
    assert (told.stored, waited) == (3, [1])
