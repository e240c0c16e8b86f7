"""A small HTTP server on a free loopback port, for stand-ins: it can also hang and cut connections."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
HANGS_FOR_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back, or nothing: hang keeps the connection silent, reset cuts it."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    hang: bool = False
    reset: bool = False


class LoopbackServer:
    """Answers every request with ``respond(asked)``, each connection in a thread of its own."""

    def __init__(self, respond: Callable[[Asked], Answer]) -> None:
        self._respond = respond
        self._released = threading.Event()
        self._open: set[socket.socket] = set()
        self._http = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def release(self) -> None:
        """End what hangs now; what hangs later hangs anew."""
        released, self._released = self._released, threading.Event()
        released.set()

    def stop(self) -> None:
        """Stop listening, end what hangs and close what is kept alive."""
        self._http.shutdown()
        self._thread.join()
        self.release()
        for connection in list(self._open):
            _shut(connection)
        self._http.server_close()

    def answer(self, asked: Asked) -> Answer | None:
        """The answer to send, None if the connection is to end without one."""
        given = self._respond(asked)
        if given.hang:
            self._released.wait(HANGS_FOR_SECONDS)
            return None
        return given

    def opened(self, connection: socket.socket) -> None:
        self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        self._open.discard(connection)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that hangs up is no error of ours
            super().handle_error(request, client_address)


def _handler(server: LoopbackServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer: a header and a body apart wait for each other's acknowledgement

        def setup(self) -> None:
            super().setup()
            server.opened(self.connection)

        def finish(self) -> None:
            server.closed(self.connection)
            super().finish()

        def _serve(self) -> None:
            length = self.headers.get("Content-Length", "0")
            if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
                self.close_connection = True
                self.send_error(400)
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, self.rfile.read(int(length)))
            given = server.answer(asked)
            if given is None or given.reset:
                self.close_connection = True
                if given is not None:
                    _cut(self.connection)
                return
            self.send_response(given.status)
            for name, value in given.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(given.body)))
            self.end_headers()
            self.wfile.write(given.body)
            self.wfile.flush()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Nothing: a stand-in is quiet."""

    return Handler


def _cut(connection: socket.socket) -> None:
    """End the connection with a reset rather than a farewell."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already
