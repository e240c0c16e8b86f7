"""``connector serve`` for the demo: it ends when whoever started it does, however that ended.

Its standard input is a pipe that only the demo holds; the end of it is the end of the demo.
"""

from __future__ import annotations

import os
import signal
import threading

from connector.cli import main


def _end_with_the_demo() -> None:
    while os.read(0, 1024):  # not sys.stdin, whose lock the server's child would inherit
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_demo, name="connector-demo", daemon=True).start()
    main(["serve"], prog_name="connector")
