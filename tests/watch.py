"""Says now and then how far the tests are and which are running: a run that hangs or crawls then tells where, before it is stopped."""

from __future__ import annotations

import threading
import time


class Watch:
    """A plugin of the process that reports: writes a line each `every` seconds."""

    def __init__(self, write, every: float = 300.0):
        self.write, self.every = write, every
        self.running: dict[str, float] = {}
        self.ended = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look, name="watch over tests", daemon=True)

    def _look(self) -> None:
        began = time.monotonic()
        while not self.over.wait(self.every):
            now = time.monotonic()
            names = ", ".join(f"{nodeid} ({now - since:.0f} s)" for nodeid, since in sorted(self.running.copy().items())) or "none"
            self.write(f"\nafter {now - began:.0f} s {self.ended} tests have ended; running: {names}\n")

    def pytest_sessionstart(self, session):
        self.thread.start()

    def pytest_runtest_logstart(self, nodeid, location):
        self.running[nodeid] = time.monotonic()

    def pytest_runtest_logfinish(self, nodeid, location):
        self.running.pop(nodeid, None)
        self.ended += 1

    def pytest_sessionfinish(self, session):
        self.over.set()
