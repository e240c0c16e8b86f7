"""``connector serve`` and ``connector web``: the application under granian.

``serve`` is exactly one granian child, which also runs the worker's threads and, on SQLite, holds the lock beside
the file. Two things that granian leaves open are closed here, both seen with kill -9: a dead parent leaves its child
answering, so the child dies with it; and a second server binds the same port beside the first, so the port is tried
before. If the child dies the parent ends with status 1, and whoever supervises it restarts both.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.util import Finalize
from typing import Any, Final, Protocol, cast

from flask import Flask
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.mp import MPServer

from connector import app as doors
from connector.config import Config
from connector.errors import ConfigError, ConnectorError
from connector.lock import StoreLock
from connector.store import Store, open_store

THREADS: Final = 64
"""More than ``bodies.READERS``, so that some are left to answer when senders that stall hold all those."""

STOP_SECONDS: Final = 18
"""When granian kills a child that does not end: platforms kill us all a little later."""

WORKER_STOP_SECONDS: Final = 15
END_SECONDS: Final = 15.5
"""When a child that was told to stop ends, even if a request is stalled: while it still can end cleanly."""

PATIENCE_SECONDS: Final = 1.0
"""A predecessor that was just killed needs a moment to be gone; whoever still serves after that, serves."""

WATCH_SECONDS: Final = 1.0
START_SECONDS: Final = 0.5
"""How long granian may take from setting its signal handler to listening; it forgets a stop in between."""

PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>

log: Final = logging.getLogger("connector")


class Works(Protocol):
    """The worker's threads, as ``connector.worker.Worker`` is: ``stop`` returns when the current attempt is settled."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


MakeApp = Callable[[Config, Store], Flask]
MakeWorker = Callable[[Config, Store], Works]
"""Both run in the child; functions of a module, because they may have to be pickled on the way there."""


def serve(config: Config, make_worker: MakeWorker, make_app: MakeApp = doors.create_app) -> None:
    """Web and worker in one process, until SIGTERM or SIGINT.

    Raises: ConfigError if the store's lock or the port is held; SystemExit(1) if the child died.
    """
    if config.sqlite:
        _patiently(partial(_check_lock, config.database_url))
    _run(config, config.host, 1, partial(_load, config, make_app, make_worker))


def web(config: Config, make_app: MakeApp = doors.create_app) -> None:
    """The web process alone, with a few children: for PostgreSQL, beside ``connector worker``.

    Raises: ConfigError if the store is SQLite or the port is held; SystemExit(1) if a child died.
    """
    if config.sqlite:
        raise ConfigError("DATABASE_URL: connector web needs PostgreSQL; with SQLite use connector serve")
    _run(config, config.public_host, min(os.cpu_count() or 1, 4), partial(_load, config, make_app, None))


def check_port(host: str, port: int) -> None:
    """Can this address be listened on?

    Raises: ConfigError if not. Granian itself would share the port with whoever listens on it already.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections may linger
            attempt.bind(address)
    except OSError as error:
        why = "another process listens there" if error.errno == errno.EADDRINUSE else error.strerror or "it failed"
        raise ConfigError(f"PORT: cannot listen on {host}:{port}: {why}; stop it or set another PORT") from error


class _Server(MPServer):
    """Granian, with the two signals it would lose or mistake.

    A child that was just forked still has these handlers of its parent, with a copy of the parent's state.
    """

    hangup_ignored = False

    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:
        if os.getpid() != cast(int, self.pid):
            sys.exit(0)
        self._interrupt()

    def signal_handler_reload(self, *args: Any, **kwargs: Any) -> None:
        """A closed terminal is a stop, unless we were started to outlive it; a second child cannot have the lock."""
        if os.getpid() == cast(int, self.pid) and not self.hangup_ignored:
            self._interrupt()

    def _interrupt(self) -> None:
        self.interrupt_signal = True
        self.main_loop_interrupt.set()


def _check_lock(database_url: str) -> None:
    """The child takes the lock, because it is the one whose life matters; here we only look whether it can."""
    lock = StoreLock(database_url)
    lock.acquire()
    lock.release()


def _patiently(check: Callable[[], None]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return check()
        except ConfigError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _run(config: Config, host: str, children: int, load: Callable[[_Child], Flask]) -> None:
    _patiently(partial(check_port, host, config.port))
    server = _Server(
        "connector",  # a name for messages; the loader knows what to load
        address=host,
        port=config.port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,  # what senders and platforms speak; telling the two apart has no deadline for headers
        workers=children,
        blocking_threads=THREADS,
        websockets=False,
        log_level=LogLevels.error,  # its one warning is about threads, which wait for commits and cost nothing
        log_access=False,  # it would write query strings, which hold tokens
        workers_kill_timeout=STOP_SECONDS,
    )
    server.hangup_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    shown = f"[{host}]" if ":" in host else host
    log.info("action=serve url=http://%s:%d pid=%d children=%d", shown, config.port, os.getpid(), children)
    try:
        server.serve(target_loader=partial(_in_child, os.getpid(), load), wrap_loader=False)
    except SystemExit:
        # A child that heard the same SIGTERM may be gone before granian tells it to go: that is no failure.
        if not server.interrupt_signal:
            raise


class _Child:
    """What one child runs, and the two moments of its end, each of which comes once however often it is called."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: Works | None = None
        self._stopping: threading.Thread | None = None
        self._deadline = 0.0
        self._house: tuple[Flask, Store, StoreLock | None] | None = None

    def run(self, app: Flask, worker: Works | None, store: Store, lock: StoreLock | None) -> None:
        """Start the worker, unless a stop was heard already, and see to the end."""
        with self._lock:
            self._house = app, store, lock
            # Runs after granian has answered its last request and before the process joins its threads.
            Finalize(None, self.finish, exitpriority=100)
            if worker and not self._stopping:
                self._worker = worker
                worker.start()

    def stop_working(self) -> threading.Thread:
        """The worker takes nothing new from now on; the thread ends when its current attempts are settled."""
        with self._lock:
            if self._stopping is None:
                stop = self._worker.stop if self._worker else lambda: None
                self._stopping = threading.Thread(target=stop, name="connector-stop", daemon=True)
                self._deadline = time.monotonic() + WORKER_STOP_SECONDS
                self._stopping.start()
            return self._stopping

    def finish(self) -> None:
        """Last attempts settled, last refusals counted, then the store, then the lock: nobody else may come earlier."""
        stopping = self.stop_working()
        stopping.join(max(0.0, self._deadline - time.monotonic()))
        with self._lock:
            house, self._house = self._house, None
            if house is None:
                return
            app, store, lock = house
            doors.close(app)
            store.dispose()
            if lock:
                lock.release()

    def end(self) -> None:
        """End the process without waiting for requests any longer: they were not acknowledged and are sent again."""
        try:
            self.finish()
        finally:
            os._exit(0)


def _in_child(parent: int, load: Callable[[_Child], Flask]) -> Flask:
    """What granian calls in the child to get its WSGI application."""
    child = _Child()
    _stop_once(child)
    _die_with(parent)
    try:
        return load(child)
    except ConnectorError as error:
        log.error("action=serve error=%s", error)
        sys.exit(1)


def _load(config: Config, make_app: MakeApp, make_worker: MakeWorker | None, child: _Child) -> Flask:
    lock = StoreLock(config.database_url) if config.sqlite else None
    if lock:
        lock.acquire(stop=os.getppid())
    store = open_store(config.database_url)
    app = make_app(config, store)
    child.run(app, make_worker(config, store) if make_worker else None, store, lock)
    return app


def _stop_once(child: _Child) -> None:
    """Let granian's child hear one SIGTERM only.

    Platforms signal every process and terminals the whole group, so the child would hear them and then its parent:
    the second signal makes granian 2.8.7 hang until it is killed (tried: every fourth time). Signals are blocked in
    all threads, and one thread waits for the first SIGTERM that the parent, or a platform, sends.
    """
    before = signal.getsignal(signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    threading.Thread(target=_stop, args=(before, child), name="connector-signals", daemon=True).start()


def _stop(before: Any, child: _Child) -> None:
    signal.sigwait({signal.SIGTERM})
    last = threading.Timer(END_SECONDS, child.end)
    last.daemon = True
    last.start()
    child.stop_working()  # at once: granian waits for its requests first
    handler = signal.getsignal(signal.SIGTERM)
    while handler is before:  # still starting
        time.sleep(0.01)
        handler = signal.getsignal(signal.SIGTERM)
        if handler is not before:
            time.sleep(START_SECONDS)
    if callable(handler):
        handler(signal.SIGTERM, None)


def _die_with(parent: int) -> None:
    """End this process when its parent does, whatever killed that."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
    threading.Thread(target=_watch, args=(parent,), name="connector-parent", daemon=True).start()


def _watch(parent: int) -> None:
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
