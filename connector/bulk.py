"""Many rows in one statement, on both databases.

A list travels as one JSON parameter. Measured on PostgreSQL: psycopg dumps 1,500 strings as an array at 4.4 µs each
and as one JSON text at 0.3; SQLAlchemy's own multi-row inserts cost 90 µs a row there. SQLite has no round trip, so
its driver's ``executemany`` is the fastest form. The two dialects differ in this room only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson
import sqlalchemy as sa

Row = tuple[Any, ...]

_POSTGRESQL_TYPES: Final = (
    (sa.Boolean, "boolean"),
    (sa.BigInteger, "bigint"),
    (sa.SmallInteger, "smallint"),
    (sa.Integer, "integer"),
)


def insert_rows(
    tx: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Sequence[Row], on_conflict: str = ""
) -> None:
    """Insert rows of these columns; on_conflict is SQL after ``values``, in which ``excluded`` is the new row."""
    if not rows:
        return
    names = ", ".join(columns)
    if tx.dialect.name == "sqlite":
        marks = ", ".join("?" for _ in columns)
        tx.exec_driver_sql(f"insert into {table.name} ({names}) values ({marks}) {on_conflict}", list(rows))  # noqa: S608 - names of ours
        return
    tx.exec_driver_sql(
        f"insert into {table.name} ({names}) select {names} from {_recordset(table, columns)} {on_conflict}",  # noqa: S608 - names of ours
        (_as_objects(columns, rows),),
    )


def update_rows(
    tx: sa.Connection, table: sa.Table, key: Sequence[str], columns: Sequence[str], rows: Sequence[Row]
) -> None:
    """Set columns of the rows named by key; each row is the key's values, then the columns' values."""
    if not rows:
        return
    if tx.dialect.name == "sqlite":
        sets = ", ".join(f"{name} = ?" for name in columns)
        where = " and ".join(f"{name} = ?" for name in key)
        width = len(key)
        tx.exec_driver_sql(
            f"update {table.name} set {sets} where {where}",  # noqa: S608 - names of ours
            [row[width:] + row[:width] for row in rows],
        )
        return
    sets = ", ".join(f"{name} = new.{name}" for name in columns)
    where = " and ".join(f"{table.name}.{name} = new.{name}" for name in key)
    source = _recordset(table, [*key, *columns], alias="new")
    tx.exec_driver_sql(
        f"update {table.name} set {sets} from {source} where {where}",  # noqa: S608 - names of ours
        (_as_objects([*key, *columns], rows),),
    )


def delete_rows(tx: sa.Connection, table: sa.Table, key: str, values: Iterable[int], where: str = "") -> None:
    """Delete the rows whose key is one of values, and which fulfil the further SQL condition."""
    further = f" and {where}" if where else ""
    tx.exec_driver_sql(f"delete from {table.name} where {key} {_among(tx)}{further}", (as_json(values),))  # noqa: S608 - names of ours


def select_by(
    tx: sa.Connection, table: sa.Table, columns: Sequence[str], key: str, values: Iterable[Any], where: str = ""
) -> list[Row]:
    """The rows whose key is one of values, and which fulfil the further SQL condition."""
    values = list(values)
    if not values:
        return []
    further = f" and {where}" if where else ""
    among = _among(tx, integer=isinstance(values[0], int))
    found = tx.exec_driver_sql(
        f"select {', '.join(columns)} from {table.name} where {key} {among}{further}",  # noqa: S608 - names of ours
        (as_json(values),),
    )
    return [tuple(row) for row in found]


def select_locked(
    tx: sa.Connection,
    table: sa.Table,
    columns: Sequence[str],
    key: str,
    values: Iterable[Any],
    condition: str = "true",
) -> list[Row]:
    """As ``select_by``, and nobody else changes these rows before the transaction ends (on SQLite nobody can)."""
    lock = "" if tx.dialect.name == "sqlite" else f" order by {columns[0]} for update"
    return select_by(tx, table, columns, key, values, f"{condition}{lock}")


def select_joined(tx: sa.Connection, query: str, asked: Sequence[tuple[str, str]], rows: Sequence[Row]) -> list[Row]:
    """The rows of query, a SQL text in which ``{asked}`` stands for a table of the rows given.

    Args: asked is the (name, PostgreSQL type) of each column of that table.
    """
    if not rows:
        return []
    names = [name for name, _ in asked]
    if tx.dialect.name == "sqlite":
        fields = ", ".join(f"json_extract(value, '$[{at}]') as {name}" for at, name in enumerate(names))
        table = f"(select {fields} from json_each(?))"  # noqa: S608 - names of ours
        found = tx.exec_driver_sql(query.format(asked=table), (as_json(rows),))
    else:
        types = ", ".join(f"{name} {kind}" for name, kind in asked)
        table = f"(select * from json_to_recordset(%s::json) as rows_given({types}))"  # noqa: S608 - names of ours
        found = tx.exec_driver_sql(query.replace("%", "%%").format(asked=table), (_as_objects(names, rows),))
    return [tuple(row) for row in found]


def as_json(values: Iterable[Any]) -> str:
    return orjson.dumps(list(values)).decode()


def _among(tx: sa.Connection, *, integer: bool = True) -> str:
    if tx.dialect.name == "sqlite":
        return "in (select value from json_each(?))"
    cast = "::bigint" if integer else ""
    # `= any(array(…))`, because the planner answers it from the index and `in (…)` not always
    return f"= any(array(select value{cast} from json_array_elements_text(%s::json)))"  # noqa: S608 - a cast


def _recordset(table: sa.Table, columns: Sequence[str], alias: str = "rows_given") -> str:
    types = ", ".join(f"{name} {_postgresql_type(table.c[name])}" for name in columns)
    return f"json_to_recordset(%s::json) as {alias}({types})"


def _postgresql_type(column: sa.Column[Any]) -> str:
    for kind, name in _POSTGRESQL_TYPES:
        if isinstance(column.type, kind):
            return name
    return "text"


def _as_objects(columns: Sequence[str], rows: Sequence[Row]) -> str:
    return orjson.dumps([dict(zip(columns, row, strict=True)) for row in rows]).decode()
