"""Clips as arrays, as files and as references."""

import hashlib
import os
import subprocess
import sys
import time
import wave
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from unifusion.errors import ConfigError
from unifusion.world.render import frame_times, parse_reference, reference, render, with_words, write_mp4, write_wav
from unifusion.world.sample import sample_script
from unifusion.world.script import SoundEvent


def clips(wanted, seed=0, **choices):
    """Scripts that `wanted` accepts, in order."""
    return (s for i in range(5000) if wanted(s := sample_script(seed, i, **choices)))


def full():
    return next(clips(lambda s: s.identity and s.utterance and s.sounds and s.objects, size_px=64, duration_s=3.0))


def test_a_clip_has_its_frames_sound_and_words():
    script = full()
    clip, spoken = render(script)
    assert clip.frames_THWC.shape == (75, 64, 64, 3) and clip.frames_THWC.dtype == np.uint8
    assert np.array_equal(clip.frame_times_s, np.arange(75) / 25) and clip.duration_s == 3.0
    assert clip.waveform_N.shape == (48_000,) and clip.waveform_N.dtype == np.float32
    assert [w.text for w in spoken.utterance.words] == script.utterance.text.split()
    assert replace(spoken, utterance=script.utterance) == script


def test_any_times_give_the_same_frames():
    script = full()
    whole, _ = render(script)
    some, _ = render(script, times_s=[2.0, 0.4])
    assert np.array_equal(some.frames_THWC, whole.frames_THWC[[50, 10]])


def test_a_stream_that_is_not_there_is_none():
    silent = next(clips(lambda s: not s.has_sound, size_px=32, duration_s=2.0))
    dark = next(clips(lambda s: not s.has_picture, size_px=32, duration_s=2.0))
    assert render(silent)[0].waveform_N is None and render(silent)[0].frames_THWC is not None
    assert render(dark)[0].frames_THWC is None and render(dark)[0].frame_times_s is None
    assert render(full(), picture=False)[0].frames_THWC is None and render(full(), sound=False)[0].waveform_N is None


def test_the_mouth_moves_with_the_voice_and_not_with_other_sounds():
    script = replace(next(clips(lambda s: s.identity and s.utterance and not s.sounds, size_px=96)), expressions=(), objects=(), sign=None)
    _, spoken = render(script)
    middle = (spoken.utterance.start_s + spoken.utterance.end_s) / 2
    times = np.linspace(middle - 0.3, middle + 0.3, 12)
    mute = replace(script, utterance=None)
    loud = replace(mute, sounds=(SoundEvent(kind="alarm", start_s=0.1, end_s=5.9, level_db=-10.0),))
    speaking, resting, noisy = (render(s, times_s=times)[0].frames_THWC for s in (script, mute, loud))
    assert np.array_equal(resting, noisy) and (speaking != resting).any(axis=(1, 2, 3)).mean() > 0.7


def test_arrays_are_equal_in_another_process():
    clip, _ = render(full())
    code = (
        "import hashlib; from unifusion.world.render import parse_reference, render; import sys;"
        "c, _ = render(parse_reference(sys.argv[1])); print(hashlib.sha256(c.frames_THWC.tobytes() + c.waveform_N.tobytes()).hexdigest())"
    )
    run = subprocess.run([sys.executable, "-c", code, reference(full())], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == hashlib.sha256(clip.frames_THWC.tobytes() + clip.waveform_N.tobytes()).hexdigest()


def test_words_without_drawing_are_those_of_the_rendered_clip():
    for script in (full(), next(clips(lambda s: s.background and s.utterance))):
        assert with_words(script) == render(script, times_s=[0.0])[1]
    silent = next(clips(lambda s: not s.has_sound))
    assert with_words(silent) is silent


@pytest.mark.parametrize("split", ["train", "test_new_people", "test_new_combinations"])
def test_every_utterance_fits_into_its_clip(split):
    for duration_s in (2.0, 6.0):
        for script in islice(clips(lambda s: s.utterance is not None, seed=4, split=split, duration_s=duration_s), 12):
            assert with_words(script).utterance.end_s <= duration_s


def test_references_come_back_as_the_same_script():
    for i, split in enumerate(("train", "val", "test_new_people")):
        script = sample_script(7, i, split=split, duration_s=2.5 + i, size_px=96)
        assert parse_reference(reference(script)) == script
    assert parse_reference("clip-world://3/4") == sample_script(3, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip-world://x/1", "no reference to a clip"),
        ("clip-world://1", "no reference to a clip"),
        ("http://1/2", "no reference to a clip"),
        ("clip-world://1/2?sise=3", "did you mean 'size'"),
        ("clip-world://1/2?split=tost", "no split 'tost'"),
        ("clip-world://1/2?duration=99", "duration of 99.0 s"),
        ("clip-world://1/0?turn=9", "turns 0 to"),
    ],
)
def test_wrong_references_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_reference(text)


def test_an_mp4_holds_the_clip(tmp_path):
    av = pytest.importorskip("av")
    script = full()
    clip, script = render(script)
    write_mp4(tmp_path / "a.mp4", clip, script)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert [s.codec_context.name for s in container.streams] == ["h264", "aac"]
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    with av.open(str(tmp_path / "a.mp4")) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert len(frames) == 75 and np.abs(np.stack(frames).astype(int) - clip.frames_THWC).mean() < 6
    assert abs(len(sound) - 48_000) <= 2048
    delays = [sound[k : k + 40_000] for k in range(0, 2049, 1024)]
    assert max(np.corrcoef(clip.waveform_N[:40_000], s)[0, 1] for s in delays if len(s) == 40_000) > 0.9


def test_files_lack_what_the_clip_lacks(tmp_path):
    av = pytest.importorskip("av")
    script = full()
    clip, _ = render(script)
    write_mp4(tmp_path / "silent.mp4", replace(clip, waveform_N=None), script)
    write_mp4(tmp_path / "dark.mp4", replace(clip, frames_THWC=None), script)
    kinds = []
    for name in ("silent", "dark"):
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            kinds.append([s.type for s in container.streams])
    assert kinds == [["video"], ["audio"]]
    write_wav(tmp_path / "a.wav", clip)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (16_000, 1, 48_000)
    with pytest.raises(ConfigError, match="neither picture nor sound"):
        write_mp4(tmp_path / "b.mp4", replace(clip, frames_THWC=None, waveform_N=None), script)
    with pytest.raises(ConfigError, match=r"2 frames for 3\.0 s"):
        write_mp4(tmp_path / "b.mp4", render(script, times_s=[0, 1])[0], script)
    with pytest.raises(ConfigError, match="no sound"):
        write_wav(tmp_path / "b.wav", replace(clip, waveform_N=None))


@pytest.mark.alone
def test_rendering_is_fast():
    scripts = [sample_script(9, i) for i in range(6)]
    started = time.process_time()
    for script in scripts:
        render(script)
    floor = float(os.environ.get("UNIFUSION_WORLD_RENDER_RATE", "2.5"))
    assert len(scripts) / (time.process_time() - started) >= floor, "clips/s on one core; 5 are wanted on an idle machine"
    assert len(frame_times(scripts[0])) == 150
