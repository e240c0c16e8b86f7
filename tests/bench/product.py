"""The product, measured from outside: a real ``connector serve`` on loopback, and the pipeline on a real store."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from connector import config, inbox, mapping, migrate, pipeline, resources
from connector.house import build
from connector.keys import Keys
from connector.messages import Received
from connector.store import open_store
from tests.bench.streams import NOW

SECRET = "bench-shared-secret"
CLIENTS = 16


def acknowledged(folder: Path, events: Sequence[bytes], size: int) -> tuple[float, str]:
    """Events a second answered with 200 by a running connector that also stitches them; p50 and p99 of the answer."""
    port = _free_port()
    requests = [
        events[at] if size == 1 else b"[" + b",".join(events[at : at + size]) + b"]"
        for at in range(0, len(events), size)
    ]
    signed = [(body, _signature(events[number * size])) for number, body in enumerate(requests)]
    process = _serve(folder, port)
    try:
        shares = [signed[number::CLIENTS] for number in range(CLIENTS)]
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            waits = sorted(wait for share in pool.map(lambda share: _post_all(port, share), shares) for wait in share)
        seconds = time.perf_counter() - began
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    p50, p99 = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
    return len(events) / seconds, f"p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms"


def stitched(folder: Path, events: Sequence[bytes]) -> float:
    """Events a second from the inbox to decisions and outbox, in batches of 1,000."""
    settings = config.read(
        {"DATABASE_URL": f"sqlite:///{folder}/bench.db", "CONNECTOR_SECRET": "0" * 32}, folder / "no.env"
    )
    store = open_store(settings.database_url)
    migrate.upgrade(store)
    own_prefix = Keys(settings.secret).prefix
    house = build(settings, mapping.load(resources.shipped_mappings(), None, own_prefix))
    for at in range(0, len(events), 1_000):
        rows = [Received("segment", str(at + n), body.decode(), NOW) for n, body in enumerate(events[at : at + 1_000])]
        with store.writing() as tx:
            inbox.store(tx, rows)
    began = time.perf_counter()
    done = False
    while not done:
        with store.writing() as tx:
            batch = inbox.take(tx, 1_000)
            pipeline.process(tx, batch, house, NOW)
        done = not batch
    seconds = time.perf_counter() - began
    store.dispose()
    return len(events) / seconds


def _post_all(port: int, share: Sequence[tuple[bytes, str]]) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    waits = []
    for body, signature in share:
        began = time.perf_counter()
        connection.request(
            "POST", "/webhooks/segment", body, {"X-Signature": signature, "Content-Type": "application/json"}
        )
        response = connection.getresponse()
        response.read()
        waits.append(time.perf_counter() - began)
        if response.status != 200:
            raise RuntimeError(f"the connector answered {response.status}")
    connection.close()
    return waits


def _serve(folder: Path, port: int) -> subprocess.Popen[bytes]:
    environment = {
        "PATH": os.environ["PATH"],
        "PORT": str(port),
        "HOST": "127.0.0.1",
        "DATABASE_URL": f"sqlite:///{folder}/bench.db",
        "CONNECTOR_SECRET": "0" * 32,
        "SEGMENT_SHARED_SECRETS": SECRET,
        "INSPECTOR_TOKENS": "bench",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "connector.cli", "serve"], env=environment, cwd=folder, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return process
        except OSError:
            time.sleep(0.05)
    process.kill()
    raise RuntimeError("the connector did not start")


def _signature(first: bytes) -> str:
    return hmac.new(SECRET.encode(), first, hashlib.sha1).hexdigest()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
