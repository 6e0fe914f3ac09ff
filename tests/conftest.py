"""Fixtures shared by all tests."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from pathlib import Path

import pytest


def pytest_configure(config):
    """One thread per process: two cores, and torch's own threads fight with pytest's workers.

    A shell starts what runs in its background deaf to interrupts, and children inherit that; tests of interrupts need them.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    """After the summary: a native library once hung while the process was torn down, with every test passed.

    CI ends the process at once; elsewhere a hang of two minutes shows where it is.
    """
    yield
    if os.environ.get("CI") == "true":
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(session.exitstatus))
    faulthandler.dump_traceback_later(120)


@pytest.fixture(scope="session")
def data():
    """The folder of real data packs; tests that need it skip without it."""
    folder = Path(os.environ.get("UNIFUSION_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set UNIFUSION_DATA")
    return folder


@pytest.fixture(scope="session")
def tiny_engine():
    """An engine over a random model; small enough to build in a second."""
    from tests.toys import chat_model
    from unifusion.engine import Engine

    return Engine(*chat_model(seed=1))  # answers of this one are varied and partly text
