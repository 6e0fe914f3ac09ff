"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_configure(config):
    """One thread per process: two cores, and torch's own threads fight with pytest's workers."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


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
