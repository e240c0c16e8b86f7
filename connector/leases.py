"""Work that one process at a time does: who has it, and until when that may be counted on.

A lease is renewed in the transactions that do the work, so whoever lost it writes nothing more; a killed holder's
runs out.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from connector.messages import Milliseconds

_TAKE: Final = sa.text("""
insert into leases (name, holder, until) values (:name, :holder, :until)
on conflict (name) do update set holder = excluded.holder, until = excluded.until
where leases.holder = excluded.holder or leases.until <= :now or leases.until > :absurd
returning holder
""")


def take(tx: sa.Connection, name: str, holder: str, now: Milliseconds, for_ms: Milliseconds) -> bool:
    """Have the lease from now on for so long: taken if nobody has it, renewed if it is ours.

    Returns False while somebody else's runs. One that runs for much longer than anybody asks for was taken under
    another clock, and does not count.
    """
    asked = {"name": name, "holder": holder, "now": now, "until": now + for_ms, "absurd": now + 2 * for_ms}
    return tx.execute(_TAKE, asked).first() is not None


def holder_of(tx: sa.Connection, name: str, now: Milliseconds) -> str | None:
    """Who has the lease."""
    asked = {"name": name, "now": now}
    found = tx.execute(sa.text("select holder from leases where name = :name and until > :now"), asked).scalar()
    return None if found is None else str(found)


def give_back(tx: sa.Connection, name: str, holder: str) -> None:
    """Let somebody else have it at once, if it is ours."""
    tx.execute(sa.text("delete from leases where name = :name and holder = :holder"), {"name": name, "holder": holder})
