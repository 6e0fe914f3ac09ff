"""Clips opened ahead by other processes: the same clips, in whatever order they are asked for; what fails, fails where it is asked for."""

import os
import signal
from dataclasses import replace

import pytest
import torch

from tests.evaluation.suite.test_asking import RUN
from tests.toys import chat_model, video
from unifusion.engine import Engine
from unifusion.errors import ConfigError, MediaError
from unifusion.evaluation.outfile import OutFile
from unifusion.evaluation.suite.ahead import Ahead
from unifusion.evaluation.suite.asking import ask_part
from unifusion.evaluation.suite.parts import Source, part_of
from unifusion.evaluation.suite.system import EngineSystem


@pytest.fixture
def processor():
    return chat_model(seed=1)[1]


def references(count):
    return [replace(video(seed=1), source=f"clip-world://1000/{n}?split=test_iid") for n in range(count)]


def equal(one, other):
    same = one.reports == other.reports and one.media == other.media and set(one.streams) == set(other.streams)
    return same and all(
        torch.equal(tensor, other.streams[name].tensors[key]) for name in one.streams for key, tensor in one.streams[name].tensors.items()
    )


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_clips_are_those_that_are_opened_here(processor, workers):
    ahead, clips = Ahead(processor.open, workers=workers), references(6)
    ahead.over(iter(clips))
    assert all(equal(ahead.open(clip), processor.open(clip)) for clip in clips)


def test_other_processes_open_them(processor, monkeypatch):
    ahead, clips = Ahead(processor.open, workers=2), references(5)
    ahead.over(iter(clips))
    monkeypatch.setattr(processor.opener, "open", None)  # after the processes have begun: what is opened here fails
    assert [ahead.open(clip).media for clip in (*clips[2:], *clips[:2])] == [*clips[2:], *clips[:2]]
    with pytest.raises(TypeError):
        ahead.open(clips[0])


def test_a_clip_nobody_told_of_is_opened_at_once_and_the_others_stay(processor):
    ahead, clips = Ahead(processor.open, workers=1), references(4)
    ahead.over(iter(clips[1:]))
    assert ahead.open(clips[0]).media == clips[0]
    assert [ahead.open(clip).media for clip in clips[1:]] == clips[1:]


def test_a_broken_clip_is_an_error_where_it_is_asked_for(processor, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    clips = references(3)
    clips[1] = replace(clips[1], source=str(bad))
    ahead = Ahead(processor.open, workers=2)
    ahead.over(iter(clips))
    assert ahead.open(clips[0]).media == clips[0]
    with pytest.raises(MediaError, match=r"bad\.mp4"):
        ahead.open(clips[1])
    assert ahead.open(clips[2]).media == clips[2]


def test_clips_are_opened_here_when_a_process_dies(processor, caplog):
    ahead, clips = Ahead(processor.open, workers=1), references(30)
    ahead.over(iter(clips))
    first = ahead.open(clips[0])
    os.kill(ahead._coming._workers[0].pid, signal.SIGKILL)
    assert equal(first, processor.open(clips[0]))
    assert [ahead.open(clip).media for clip in clips[1:]] == clips[1:]
    assert "one by one from here on" in caplog.text


@pytest.mark.parametrize("conditions", [("all", "blind"), ("all", "other sound", "shuffled")])
def test_a_suite_gives_the_same_bytes_however_many_open(tmp_path, conditions):
    part = part_of("which_of", Source.world("which_of", 60, "which_of"), None, most=10)
    for workers in (0, 2):
        with OutFile.open(tmp_path / str(workers), RUN) as sink:
            ask_part(EngineSystem(Engine(*chat_model(seed=1)), "toy", workers=workers), part, sink, conditions, batch_size=4)
    assert (tmp_path / "0").read_bytes() == (tmp_path / "2").read_bytes() and len((tmp_path / "0").read_bytes().splitlines()) > 30


def test_no_fewer_than_none():
    with pytest.raises(ConfigError, match="-1 workers"):
        Ahead(None, workers=-1)
