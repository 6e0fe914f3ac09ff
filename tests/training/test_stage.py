"""A stage is done once, resumed with the same choices, refused with others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest

from unifusion.errors import ConfigError
from unifusion.training.stage import stage

APART = {"capture_output": True, "text": True, "check": False}
"""Of a run in a process of its own."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Two choices."""

    out: str = ""
    steps: int = 1


def test_done_once(tmp_path):
    ran = []
    for _ in range(2):
        with stage(tmp_path / "a", Choices()) as todo:
            (tmp_path / "a").mkdir(exist_ok=True)
            ran.append(todo)
    assert ran == [True, False]


def test_done_again_when_the_result_was_removed(tmp_path):
    for made in (tmp_path / "a", tmp_path / "elsewhere"):
        for _ in range(2):
            with stage(tmp_path / "a", Choices(), made=made) as todo:
                assert todo
                made.mkdir()
            made.rmdir()


def test_an_attempt_that_failed_at_once_leaves_its_name_free(tmp_path):
    with pytest.raises(RuntimeError), stage(tmp_path / "a", Choices(steps=1)):
        raise RuntimeError("no such encoder")
    with stage(tmp_path / "a", Choices(steps=2)) as todo:
        assert todo


def test_what_the_refusal_says_to_remove_is_all_that_has_to_be(tmp_path):
    with pytest.raises(RuntimeError), stage(tmp_path / "a", Choices()):
        (tmp_path / "a.fit" / "checkpoint-1").mkdir(parents=True)
        raise RuntimeError("killed")
    with pytest.raises(ConfigError, match="steps differ") as caught, stage(tmp_path / "a", Choices(steps=2)):
        pass
    named = caught.value.remedy.rstrip(".").partition("remove ")[2].split(", ")
    assert named == [str(tmp_path / "a.fit"), str(tmp_path / "a.choices.json")]
    (tmp_path / "a.choices.json").unlink()
    with pytest.raises(ConfigError, match="nobody knows with which choices"), stage(tmp_path / "a", Choices(steps=2)):
        pass
    shutil.rmtree(tmp_path / "a.fit")
    with stage(tmp_path / "a", Choices(steps=2)) as todo:
        assert todo


def test_a_failed_stage_is_done_again(tmp_path):
    with pytest.raises(RuntimeError), stage(tmp_path / "a", Choices()):
        raise RuntimeError("killed")
    with stage(tmp_path / "a", Choices()) as todo:
        assert todo


def test_the_time_of_attempts_that_were_killed_counts(tmp_path):
    for _ in range(2):
        with pytest.raises(RuntimeError), stage(tmp_path / "a", Choices()):
            began = (tmp_path / "a.choices.json").stat().st_mtime
            (tmp_path / "a.fit" / "checkpoint-1").mkdir(parents=True, exist_ok=True)
            (tmp_path / "a.fit" / "checkpoint-1" / "trained").touch()
            os.utime(tmp_path / "a.fit" / "checkpoint-1", (began, began))
            os.utime(tmp_path / "a.fit" / "checkpoint-1" / "trained", (began + 60, began + 60))
            raise RuntimeError("killed")
    with stage(tmp_path / "a", Choices()):
        pass
    assert 120 <= json.loads((tmp_path / "a.done.json").read_text())["seconds"] < 125


def test_other_choices_are_refused_and_named(tmp_path):
    with stage(tmp_path / "a", Choices()):
        pass
    with pytest.raises(ConfigError, match="steps differ"), stage(tmp_path / "a", Choices(steps=2)):
        pass


def test_a_second_run_is_kept_away_while_the_first_goes_on(tmp_path):
    again = "from tests.training.test_stage import *; stage(sys.argv[1], Choices()).__enter__()"
    for busy in (True, False):
        with stage(tmp_path / "a", Choices()):
            found = subprocess.run([sys.executable, "-c", f"import sys; {again}", str(tmp_path / ("a" if busy else "b"))], **APART)
            assert (found.returncode != 0) == busy
            assert not busy or f"another run is at {tmp_path / 'a'} (process {os.getpid()} on " in found.stderr
        assert not (tmp_path / "a.lock").exists()
        (tmp_path / "a.done.json").unlink()


def test_a_run_that_was_killed_keeps_nobody_away(tmp_path):
    begun = "import os, sys; from tests.training.test_stage import *\nwith stage(sys.argv[1], Choices()): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", begun, str(tmp_path / "a")], **APART).returncode == -9
    assert (tmp_path / "a.lock").is_file()
    with stage(tmp_path / "a", Choices()) as todo:
        assert todo


def test_choices_that_are_free_may_change(tmp_path):
    for steps, free in ((1, ()), (2, ("steps",))):
        with pytest.raises(KeyboardInterrupt), stage(tmp_path / "a", Choices(steps=steps), free=free):
            raise KeyboardInterrupt
    assert json.loads((tmp_path / "a.choices.json").read_text())["choices"]["steps"] == 2
    other = stage(tmp_path / "a", Choices(steps=3), free=("out",))
    with pytest.raises(ConfigError, match=r"\(steps differ: steps: 2 then, 3 now\)"), other:
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    begun = stage(tmp_path / "file/under/a", Choices())
    with pytest.raises(ConfigError, match=r"file/under cannot be written: .*; name another folder"), begun:
        pass
