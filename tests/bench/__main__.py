"""``python -m tests.bench [--rounds 3] [--events 6000]``: the figures, as product ÷ floor of the same run;
``python -m tests.bench --identity [--people 1000000]``: what a large store and hubs cost, on both databases;
``python -m tests.bench --mapping``: what a mapping of Segment's kit costs;
``python -m tests.bench --klaviyo``: what one worker prepares for Klaviyo and hands over in bulk.

Product and floor take turns, because the speed of a shared machine drifts; the best round of each counts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import floors, identity, klaviyo, mapping, product
from tests.bench.streams import bodies
from tests.postgres import running_server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=6_000)
    parser.add_argument("--identity", action="store_true", help="what a large store and hubs cost")
    parser.add_argument("--people", type=int, default=1_000_000, help="in the large store of --identity")
    parser.add_argument("--mapping", action="store_true", help="what a mapping costs")
    parser.add_argument("--klaviyo", action="store_true", help="what is handed to Klaviyo in bulk")
    chosen = parser.parse_args()
    if chosen.mapping:
        _mapping(chosen.rounds)
        return
    if chosen.klaviyo:
        _klaviyo(chosen.rounds, chosen.events)
        return
    if chosen.identity:
        _identity(chosen.people, chosen.rounds)
        return
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


def _mapping(rounds: int) -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, best of {rounds}, one core\n")  # noqa: T201
    compiled, floor = mapping.speeds(rounds)
    print(f"mapped {compiled:9,.0f}/s   written by hand {floor:9,.0f}/s   ratio {compiled / floor:.2f}")  # noqa: T201


def _klaviyo(rounds: int, number: int) -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, {number} calls, best of {rounds}\n")  # noqa: T201
    given = klaviyo.calls(number)
    _compare(
        "handed to Klaviyo in bulk",
        lambda folder: (klaviyo.handed_over(folder, given), ""),
        ("bare loop, the same bodies", lambda folder: klaviyo.posted(folder, given)),
        rounds,
    )


def _identity(people: int, rounds: int) -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, best of {rounds}, a call, committed\n")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        _costs("SQLite", [f"sqlite:///{folder}/{name}.db" for name in ("small", "large")], people, rounds)
    # A quarter of what machines have that hold a million people; the server of the tests has nearly none.
    with running_server("shared_buffers=4GB", "max_wal_size=8GB") as server:
        _costs(server.origin, [server.create(), server.create()], people, rounds)


def _costs(where: str, urls: Sequence[str], people: int, rounds: int) -> None:
    small, large = identity.Filled(urls[0], 10_000), identity.Filled(urls[1], people)
    print(where)  # noqa: T201
    few, many = identity.growth(small, large, rounds)
    _cost(f"touching a link, {people:,} people ÷ 10,000", many, few)
    for what, with_hub, without in identity.hubs(small, rounds):
        _cost(f"{what} ÷ none", with_hub, without)
    for one in (small, large):
        one.store.dispose()


def _cost(what: str, product: float, floor: float) -> None:
    print(f"  {what:58} {product:6.0f} µs ÷ {floor:6.0f} µs   ratio {product / floor:.2f}")  # noqa: T201


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
