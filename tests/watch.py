"""Says which tests are running when none has ended for long: a run that hangs then tells where, before somebody stops it."""

from __future__ import annotations

import threading
import time


class Watch:
    """A plugin of the process that reports: writes a line after each `quiet` seconds in which no test ended."""

    def __init__(self, write, quiet: float = 300.0):
        self.write, self.quiet = write, quiet
        self.running: dict[str, float] = {}
        self.ended = time.monotonic()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look, name="watch over tests", daemon=True)

    def _look(self) -> None:
        while not self.over.wait(self.quiet / 10):
            now = time.monotonic()
            if now - self.ended >= self.quiet:
                names = ", ".join(f"{nodeid} ({now - began:.0f} s)" for nodeid, began in list(self.running.items())) or "none"
                self.write(f"\nno test has ended for {self.quiet:.0f} s; running: {names}\n")
                self.ended = now

    def pytest_sessionstart(self, session):
        self.thread.start()

    def pytest_runtest_logstart(self, nodeid, location):
        self.running[nodeid] = time.monotonic()

    def pytest_runtest_logfinish(self, nodeid, location):
        self.running.pop(nodeid, None)
        self.ended = time.monotonic()

    def pytest_sessionfinish(self, session):
        self.over.set()
