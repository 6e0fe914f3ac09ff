"""Parity with a library over many cases: a hundred in every run, a thousand with --thorough."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.thorough import further

CASES = pytest.mark.parametrize("cases", [100, further(1000)])


def hold(cases, *strategies):
    """Decorator: run a check at once over so many examples."""

    def run(check):
        settings(max_examples=cases, deadline=None)(given(*strategies)(check))()

    return run
