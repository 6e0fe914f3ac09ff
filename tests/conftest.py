"""Fixtures shared by all tests."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from pathlib import Path

import pytest


def is_worker(config):
    """Whether this process is one of several of `pytest -n`."""
    return hasattr(config, "workerinput")


def pytest_configure(config):
    """One thread per process: two cores, and torch's own threads fight with pytest's workers.

    What DeepSpeed compiles is kept beside the packages it was compiled for: another checkout's would be compiled anew each time.

    A shell starts what runs in its background deaf to interrupts, and children inherit that; tests of interrupts need them.
    """
    if is_worker(config):
        os.environ["OMP_NUM_THREADS"] = "1"
    else:
        from tests.watch import Watch

        config.pluginmanager.register(Watch(lambda text: config.get_terminal_writer().write(text, flush=True)), "watch")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if os.access(sys.prefix, os.W_OK):
        os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(Path(sys.prefix) / "torch_extensions"))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def shared_folder(config):
    """A folder that the workers of this run have in common; without workers, this run's own."""
    own = config._tmp_path_factory.getbasetemp()
    return own.parent if is_worker(config) else own


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Workers of `-n auto`: one a core that may be used, at most four, as each holds 2 GB."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS", 0)) or min(4, cores)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Files are shared out as tests/spread.py has it."""
    from tests.spread import Spread

    return Spread(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Names of files that are not UTF-8 are in what tests print and log; a worker can only send what can be encoded."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode("utf-8")) for name, text in report.sections]
    return report


def pytest_addoption(parser):
    parser.addoption("--thorough", action="store_true", help="also what repeats a test for further strategies, encoders, combinations")


def pytest_collection_modifyitems(config, items):
    """Without --thorough what is marked so is left out; in a worker: the order in which tests are shared out."""
    if not config.getoption("--thorough"):
        left = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]
    if is_worker(config):
        from tests.spread import place

        items.sort(key=lambda item: place(item.nodeid))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Outside the time limit of the test: wait for those of other workers, where one must run alone."""
    if not is_worker(item.config):
        return (yield)
    from tests.spread import turn

    with turn(shared_folder(item.config), alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    """After the summary: a native library once hung while the process was torn down, with every test passed.

    CI ends the process at once; elsewhere a hang of two minutes shows where it is. A worker's end is the business of the first process,
    which still waits for what it has to tell and then ends it.
    """
    yield
    if is_worker(session.config):
        return
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
