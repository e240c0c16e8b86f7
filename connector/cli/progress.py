"""How far long work has come, on standard error, where a person watches it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from connector.derive import Progress
    from connector.store import Store


@contextmanager
def steps(store: Store) -> Iterator[Progress]:
    """Bars, one a step, each as long as the store has identifiers; on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _what, _n: None
        return
    bars = Bars(store)
    try:
        yield bars
    finally:
        bars.close()


class Bars:
    """The bar of the step that runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._length: int | None = None
        self._what = ""
        self._bar: Any = None

    def __call__(self, what: str, n: int) -> None:
        """So many more of a step are done."""
        if what != self._what:
            self.close()
            self._what = what
            self._bar = click.progressbar(length=self._total(), label=what, file=sys.stderr, show_pos=False)
            self._bar.render_progress()
        self._bar.update(n)

    def close(self) -> None:
        """End the line of the bar."""
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None

    def _total(self) -> int:
        if self._length is None:
            import sqlalchemy as sa

            from connector.tables import identifiers

            with self._store.reading() as tx:
                self._length = tx.execute(sa.select(sa.func.count()).select_from(identifiers)).scalar_one()
        return self._length
