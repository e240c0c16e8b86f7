"""``python -m tests.bench [--rounds 3] [--events 6000]``: the figures, as product ÷ floor of the same run.

Product and floor take turns, because the speed of a shared machine drifts; the best round of each counts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import floors, product
from tests.bench.streams import bodies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=6_000)
    chosen = parser.parse_args()
    events = bodies(chosen.events)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, {chosen.events} events, best of {chosen.rounds}\n")  # noqa: T201
    _compare(
        "acknowledged, one event a request",
        lambda folder: product.acknowledged(folder, events, 1),
        ("group commit without HTTP", lambda folder: floors.group_commit(folder, events)),
        chosen.rounds,
    )
    _compare(
        "acknowledged, arrays of 50",
        lambda folder: product.acknowledged(folder, events, 50),
        ("one big transaction", lambda folder: floors.one_transaction(folder, events)),
        chosen.rounds,
    )
    _compare(
        "stitched",
        lambda folder: (product.stitched(folder, events), ""),
        ("bare batch algorithm", lambda folder: floors.batch_stitch(folder, events)),
        chosen.rounds,
    )


def _compare(
    name: str,
    run: Callable[[Path], tuple[float, str]],
    floor: tuple[str, Callable[[Path], float]],
    rounds: int,
) -> None:
    best, remark, lowest = 0.0, "", 0.0
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            rate, said = run(Path(folder))
        if rate > best:
            best, remark = rate, said
        with tempfile.TemporaryDirectory() as folder:
            lowest = max(lowest, floor[1](Path(folder)))
    print(f"{name:36} {best:9,.0f}/s   {floor[0]:28} {lowest:9,.0f}/s   ratio {best / lowest:.2f}   {remark}")  # noqa: T201


if __name__ == "__main__":
    main()
