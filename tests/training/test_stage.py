"""A stage is done once, resumed with the same choices, refused with others."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from unifusion.errors import ConfigError
from unifusion.training.stage import stage


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Two choices."""

    out: str = ""
    steps: int = 1


def test_done_once(tmp_path):
    ran = []
    for _ in range(2):
        with stage(tmp_path / "a", Choices()) as todo:
            ran.append(todo)
    assert ran == [True, False]


def test_a_failed_stage_is_done_again(tmp_path):
    with pytest.raises(RuntimeError), stage(tmp_path / "a", Choices()):
        raise RuntimeError("killed")
    with stage(tmp_path / "a", Choices()) as todo:
        assert todo


def test_other_choices_are_refused_and_named(tmp_path):
    with stage(tmp_path / "a", Choices()):
        pass
    with pytest.raises(ConfigError, match="steps differ"), stage(tmp_path / "a", Choices(steps=2)):
        pass
