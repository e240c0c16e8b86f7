"""The numbers of the house as Prometheus reads them. Labels are bounded: sources, reasons, names of threads.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (read 2026-11-21)
"""

from __future__ import annotations

import re
from typing import Final

import sqlalchemy as sa

from connector import counters, inbox
from connector.messages import SECOND, Milliseconds
from connector.tables import heartbeats, inbox_todo
from connector.tables import inbox as inbox_rows

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

FALLING: Final = re.compile(
    r"profiles|links|refused_links|quarantined|email\.(?:held|ambiguous)|outbox\..*\.(?:held|pending|dead)"
)
"""What can become less: a gauge. A counter that falls would look to Prometheus like a restart, and be added again."""

WORKER_SILENT_MS: Final = 30 * SECOND
BACKLOG_MS: Final = 15 * 60 * SECOND


def exposition(tx: sa.Connection, now: Milliseconds) -> str:
    """All counters, the inbox, and when each process was last alive, as text."""
    lines = ["# TYPE connector_rejected_total counter"]
    plain: list[str] = []
    for name, value in counters.read(tx).items():
        match name.split("."):
            case ["rejected", source, reason]:
                lines.append(f"connector_rejected_total{_labels(source=source, reason=reason)} {value}")
            case _:
                metric = "connector_" + re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
                metric, kind = (metric, "gauge") if FALLING.fullmatch(name) else (f"{metric}_total", "counter")
                plain += [f"# TYPE {metric} {kind}", f"{metric} {value}"]
    lines += plain
    lines += ["# TYPE connector_inbox_waiting gauge", f"connector_inbox_waiting {inbox.waiting(tx)}"]
    age = backlog_age(tx, now)
    lines += ["# TYPE connector_inbox_oldest_seconds gauge", f"connector_inbox_oldest_seconds {age / SECOND}"]
    lines.append("# TYPE connector_heartbeat_age_seconds gauge")
    for row in tx.execute(sa.select(heartbeats.c.name, heartbeats.c.seen_at).order_by(heartbeats.c.name)):
        lines.append(f"connector_heartbeat_age_seconds{_labels(name=row.name)} {(now - row.seen_at) / SECOND}")
    return "\n".join(lines) + "\n"


def not_ready(tx: sa.Connection, now: Milliseconds) -> list[str]:
    """Why this house should not be given traffic, one sentence each; empty if it should."""
    reasons = []
    seen_at = tx.execute(sa.select(sa.func.max(heartbeats.c.seen_at))).scalar_one()
    if seen_at is None or now - seen_at > WORKER_SILENT_MS:
        reasons.append(f"no worker was alive within the last {WORKER_SILENT_MS // SECOND} seconds")
    if backlog_age(tx, now) > BACKLOG_MS:
        reasons.append(f"the oldest message has waited for stitching longer than {BACKLOG_MS // SECOND} seconds")
    return reasons


def backlog_age(tx: sa.Connection, now: Milliseconds) -> Milliseconds:
    """How long the message at the head of the inbox has been waiting, 0 if none is."""
    head = sa.select(sa.func.min(inbox_todo.c.inbox_id)).scalar_subquery()
    received_at = tx.execute(sa.select(inbox_rows.c.received_at).where(inbox_rows.c.id == head)).scalar()
    return 0 if received_at is None else max(0, now - received_at)


def _labels(**labels: str) -> str:
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for value in labels.values())
    return "{" + ",".join(f'{name}="{value}"' for name, value in zip(labels, escaped, strict=True)) + "}"
