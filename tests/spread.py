"""How tests are shared out among the workers of `pytest -n`: what takes long begins first, and what measures time runs alone.

A file's tests run in one worker, in order, as many files make something once for all of theirs. Those of APART stand each for itself.
"""

from __future__ import annotations

import fcntl
from contextlib import contextmanager

from xdist.scheduler import LoadScopeScheduling

FIRST = (
    "tests/training/test_survival.py", "tests/training/test_ranks.py", "tests/test_recipes.py", "tests/training/test_budget.py",
    "tests/training/test_tune.py", "tests/features/test_on_ray.py", "tests/training/test_launch.py",
)  # fmt: skip
"""Files that take longest: one that began last would be waited for alone."""
LAST = (
    "tests/world/test_questions.py", "tests/world/test_picture.py", "tests/world/test_render.py", "tests/demo/test_browser.py",
    "tests/media/test_isolate.py", "tests/test_start_up.py", "tests/cli/test_index_search.py", "tests/test_matrix.py",
)  # fmt: skip
"""Files with tests that run alone, when the others run short ones that are soon over; hundreds of those even out when workers end."""
APART = frozenset({"tests/training/test_tune.py", "tests/test_matrix.py"})


def file_of(nodeid: str) -> str:
    """The file that holds a test."""
    return nodeid.partition("::")[0]


def place(nodeid: str) -> int:
    """What comes first is lowest."""
    file = file_of(nodeid)
    if file in LAST:
        return len(FIRST) + 1 + LAST.index(file)
    return FIRST.index(file) if file in FIRST else len(FIRST)


class Spread(LoadScopeScheduling):
    """Files, or tests that stand for themselves, are handed out in the order in which they were collected."""

    def __init__(self, config, log=None):
        config.option.loadscopereorder = False  # xdist would begin with the files of most tests
        super().__init__(config, log)

    def _split_scope(self, nodeid):
        return nodeid if file_of(nodeid) in APART else file_of(nodeid)


@contextmanager
def turn(folder, *, alone):
    """Wait until no test is running that this one must not run beside; several processes share the folder."""
    with open(folder / "gate", "a+") as gate, open(folder / "running", "a+") as running:
        fcntl.lockf(gate, fcntl.LOCK_EX)  # who waits to be alone stands here, and nobody passes
        fcntl.lockf(running, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)  # of this process: one forked by a test neither holds nor ends it
        fcntl.lockf(gate, fcntl.LOCK_UN)
        yield
