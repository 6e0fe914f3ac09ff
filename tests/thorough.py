"""What repeats a test for further strategies, encoders or combinations runs with `pytest --thorough` (make test-thorough)."""

import pytest


def further(*values):
    """A set of parameters for --thorough."""
    return pytest.param(*values, marks=pytest.mark.thorough)
