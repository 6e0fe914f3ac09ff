"""A run of tests that hangs says where, and a lock that orders tests ends with the process that took it."""

from __future__ import annotations

import os
import time

from tests.spread import turn
from tests.toys import run_apart
from tests.watch import Watch


def test_what_runs_is_named_from_time_to_time():
    said = []
    watch = Watch(said.append, every=0.2)
    watch.pytest_sessionstart(None)
    watch.pytest_runtest_logstart("tests/test_slow.py::test_slow", ())
    watch.pytest_runtest_logstart("tests/test_quick.py::test_quick", ())
    watch.pytest_runtest_logfinish("tests/test_quick.py::test_quick", ())
    until = time.monotonic() + 10
    while not said and time.monotonic() < until:
        time.sleep(0.02)
    watch.pytest_sessionfinish(None)
    assert "1 tests have ended" in said[0] and "tests/test_slow.py::test_slow" in said[0] and "test_quick" not in said[0]


def test_a_process_forked_by_a_test_does_not_hold_others_up(tmp_path):
    read, write = os.pipe()
    with turn(tmp_path, alone=True):
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)  # until the parent is done
            os._exit(0)
    os.close(read)

    def alone():
        with turn(tmp_path, alone=True):
            os._exit(7)

    began = time.monotonic()
    assert run_apart(alone) == 7 and time.monotonic() - began < 5
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0
