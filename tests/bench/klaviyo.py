"""What one worker prepares for Klaviyo and hands over in bulk, beside a bare loop that posts the same bodies.

Both talk to a stand-in in a process of its own, which reads and checks everything and throttles nothing.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests
import sqlalchemy as sa

from connector import bulk, config, mapping, migrate, resources
from connector.deliver import Deliverer, Limits
from connector.demo.klaviyo_standin import KEY
from connector.destinations.klaviyo import Klaviyo
from connector.gate import Gate
from connector.keys import Keys
from connector.klaviyo.calls import Who, address, compose
from connector.klaviyo.mapping import KlaviyoMapping
from connector.klaviyo.wire import LIMITS
from connector.queue import Delivery
from connector.store import Store, open_store
from connector.tables import outbox
from connector.worker import DELIVERY_THREADS
from tests.bench.streams import NOW

BATCH = 1_000
UNLIMITED = dict.fromkeys(LIMITS, ((1000000, 1.0),))
COLUMNS = ("inbox_id", "destination", "message_id", "status", "at", "due_at", "body", "created_at", "pending_at")

SERVER = """
import sys
from connector.demo.klaviyo_standin import KlaviyoStandIn

with KlaviyoStandIn(limits=False) as api:
    print(api.url, flush=True)
    sys.stdin.read()
    print(len(api.events), flush=True)
"""


def calls(number: int) -> list[dict[str, Any]]:
    """Calls of a shop's site: half page views, a third products viewed, the rest orders of three products."""
    return [_call(one) for one in range(number)]


def handed_over(folder: Path, given: Sequence[dict[str, Any]]) -> float:
    """Events a second from Segment calls to Klaviyo's answers: composed, addressed, stored, claimed, sent, settled."""
    with _standin() as (url, count):
        settings = _settings(url, folder)
        store = open_store(settings.database_url)
        migrate.upgrade(store)
        shipped = mapping.load(resources.shipped_mappings(), None, Keys(settings.secret).prefix).klaviyo
        deliverer = Deliverer(store, settings, Klaviyo(), gate=Gate(UNLIMITED), limits=Limits(idle_seconds=0.01))
        stop = threading.Event()
        threads = [threading.Thread(target=deliverer.run, args=(stop,)) for _ in range(DELIVERY_THREADS)]
        began = time.perf_counter()
        for one in threads:
            one.start()
        total = 0
        for at in range(0, len(given), BATCH):
            total += _store(store, at, _prepared(given[at : at + BATCH], at, shipped))
        while _waiting(store):
            time.sleep(0.005)
        seconds = time.perf_counter() - began
        stop.set()
        for one in threads:
            one.join()
        store.dispose()
        if count() != total:
            raise RuntimeError("the stand-in does not have every event once")
    return total / seconds


def posted(folder: Path, given: Sequence[dict[str, Any]]) -> float:
    """Events a second of a loop that posts the same bulk bodies, ready made, over one connection."""
    with _standin() as (url, count):
        settings = _settings(url, folder)
        shipped = mapping.load(resources.shipped_mappings(), None, Keys(settings.secret).prefix).klaviyo
        prepared = _prepared(given, 0, shipped)
        ones = [Delivery(number, 1, name, body, 0, NOW, None) for number, (name, body) in enumerate(prepared)]
        asked = [Klaviyo().build_request(batch, settings, NOW) for batch in Klaviyo().batches(ones)]
        began = time.perf_counter()
        with requests.Session() as session:
            for one in asked:
                answered = session.post(one.url, data=one.body, headers=dict(one.headers), timeout=30)
                if answered.status_code != 202:
                    raise RuntimeError(f"the stand-in answered {answered.status_code}")
        seconds = time.perf_counter() - began
        if count() != len(ones):
            raise RuntimeError("the stand-in does not have every event once")
    return len(ones) / seconds


def _prepared(given: Sequence[dict[str, Any]], first: int, shipped: KlaviyoMapping) -> list[tuple[str, str]]:
    """The outgoing id and the frozen body of each event."""
    return [
        (f"cdp-{number}{draft.key}", address(draft.body, _who(number), backfill=False))
        for number, call in enumerate(given, first)
        for draft in compose(call, NOW, f"cdp-{number}", shipped)
    ]


def _who(number: int) -> Who:
    return Who(email=f"p{number % 500}@example.com", external_id=f"u_{number % 500}")


def _store(store: Store, first: int, prepared: Sequence[tuple[str, str]]) -> int:
    rows = [(first, "klaviyo", name, "pending", NOW, NOW, body, NOW, NOW) for name, body in prepared]
    with store.writing() as tx:
        bulk.insert_rows(tx, outbox, COLUMNS, rows)
    return len(rows)


def _waiting(store: Store) -> bool:
    with store.reading() as tx:
        return tx.execute(sa.select(outbox.c.id).where(outbox.c.status != "delivered").limit(1)).first() is not None


def _call(number: int) -> dict[str, Any]:
    product = {
        "product_id": f"p-{number % 97}",
        "sku": f"sku-{number % 97}",
        "name": "Monopoly: 3rd Edition",
        "brand": "Hasbro",
        "category": "Games",
        "price": 18.99,
        "quantity": 1,
        "url": "https://shop.example.com/product/path",
        "image_url": "https://shop.example.com/product/path.jpg",
    }
    context = {"page": {"url": "https://shop.example.com/product/path", "title": "A game"}, "locale": "en-US"}
    base = {"traits": {}, "context": context, "integrations": {}}
    if number % 6 < 3:
        return {**base, "type": "page", "event": None, "name": "Product", "properties": context["page"]}
    if number % 6 < 5:
        return {**base, "type": "track", "event": "Product Viewed", "properties": product}
    order = {"order_id": f"o-{number}", "total": 56.97, "currency": "EUR", "products": [product] * 3}
    return {**base, "type": "track", "event": "Order Completed", "properties": order}


def _settings(url: str, folder: Path) -> config.Config:
    variables = {
        "DATABASE_URL": f"sqlite:///{folder}/bench.db",
        "CONNECTOR_SECRET": "0" * 32,
        "KLAVIYO_API_URL": url,
        "KLAVIYO_API_KEY": KEY,
    }
    return replace(config.read(variables, folder / "no.env"), destinations=("klaviyo",))


@contextmanager
def _standin() -> Iterator[tuple[str, Callable[[], int]]]:
    """The URL of a stand-in in another process, and a function that ends it and says how many events it has."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip(), lambda: int(server.communicate()[0])
        if server.poll() is None:
            server.kill()
