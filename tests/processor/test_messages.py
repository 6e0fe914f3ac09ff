"""Messages as Hugging Face and OpenAI spell them."""

import base64

import numpy as np
import pytest

from unifusion.conversation import Clip, Media
from unifusion.errors import ConfigError
from unifusion.processor.messages import to_conversation

BYTES = b"\x00\x01RIFF"
ENCODED = base64.b64encode(BYTES).decode()


def part(content):
    """The first part of a user message."""
    return to_conversation([{"role": "user", "content": [content]}]).messages[0].parts[0]


def test_levels_and_turns_that_are_not_learnt():
    assert part({"type": "audio", "path": "a.wav", "at_least_db": -18}).at_least_db == -18
    for wrong in ("loud", 3, True, -500):
        with pytest.raises(ConfigError, match="has the at_least_db"):
            part({"type": "audio", "path": "a.wav", "at_least_db": wrong})
    with pytest.raises(ConfigError, match="has the start 1000"):
        part({"type": "audio", "path": "a.wav", "start": 10**400})
    turns = [{"role": "assistant", "content": "a", "supervised": said} for said in (True, False)]
    assert [m.supervised for m in to_conversation(turns).messages] == [True, False]


@pytest.mark.parametrize(
    ("content", "kind", "source"),
    [
        ({"type": "video", "path": "a.mp4"}, "video", "a.mp4"),
        ({"type": "video", "video": "a.mp4"}, "video", "a.mp4"),
        ({"type": "video", "url": "a.mp4"}, "video", "a.mp4"),
        ({"type": "image", "image": BYTES}, "image", BYTES),
        ({"type": "audio", "audio": "file:///tmp/a.wav"}, "audio", "/tmp/a.wav"),
        ({"type": "video_url", "video_url": {"url": "a.mp4"}}, "video", "a.mp4"),
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ENCODED}"}}, "image", BYTES),
        ({"type": "image_url", "image_url": f"data:image/png;base64,{ENCODED}"}, "image", BYTES),
        ({"type": "input_image", "image_url": f"data:image/png;base64,{ENCODED}"}, "image", BYTES),
        ({"type": "input_audio", "input_audio": {"data": ENCODED, "format": "wav"}}, "audio", BYTES),
        ({"type": "audio", "base64": ENCODED}, "audio", BYTES),
        ({"type": "audio", "data": BYTES}, "audio", BYTES),
        ({"type": "video", "path": "clip-world://7"}, "video", "clip-world://7"),
    ],
)
def test_spellings(content, kind, source):
    found = part(content)
    assert isinstance(found, Media) and found.kind == kind and found.source == source


@pytest.mark.parametrize("content", ["hi", {"type": "text", "text": "hi"}, {"type": "input_text", "text": "hi"}])
def test_texts(content):
    assert part(content) == "hi"


def test_spans_and_mutes():
    found = part({"type": "video", "path": "a.mp4", "start": 1, "end": "2.5", "mute": "audio"})
    assert (found.start_s, found.end_s, found.mute) == (1.0, 2.5, ("audio",))
    assert part({"type": "video", "path": "a.mp4", "mute": ["audio", "video"]}).mute == ("audio", "video")


def test_arrays_and_pictures():
    from PIL import Image

    frames = np.zeros((5, 8, 9, 3), np.uint8)
    clip = part({"type": "video", "video": frames}).source
    assert isinstance(clip, Clip) and clip.frames_THWC is frames and clip.duration_s == pytest.approx(0.2)
    assert part({"type": "image", "image": frames[0]}).source.frames_THWC.shape == (1, 8, 9, 3)
    assert part({"type": "image", "image": Image.new("L", (9, 8))}).source.frames_THWC.shape == (1, 8, 9, 3)
    sound = part({"type": "audio", "audio": np.zeros(16_000)}).source
    assert sound.waveform_N.dtype == np.float32 and sound.duration_s == 1.0


def test_assistant_messages_are_supervised_and_others_not():
    talk = to_conversation([{"role": r, "content": r} for r in ("system", "user", "assistant", "user")])
    assert [m.supervised for m in talk.messages] == [False, False, True, False]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"type": "video", "path": "https://example.org/a.mp4"}, "network address"),
        ({"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}, "network address"),
        ({"type": "audio", "audio": "gopher://x"}, "network address"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,@@@@"}}, "not base64"),
        ({"type": "image_url", "image_url": {"url": "data:text/plain,hello"}}, "not base64"),
        ({"type": "input_audio", "input_audio": {"data": "@@", "format": "wav"}}, "not base64"),
        ({"type": "video"}, "names no file"),
        ({"type": "hologram", "path": "x"}, "'hologram'"),
        ({"type": "video", "path": "a", "start": "soon"}, "'soon'"),
        ({"type": "video", "path": "a", "mute": "sound"}, "'sound'"),
        ({"type": "video", "path": ["a.png", "b.png"]}, "holds list"),
        ({"type": "image", "image": np.zeros((4, 4), np.uint8)}, r"shape \(4, 4\)"),
        ({"type": "video", "video": np.zeros((2, 4, 4, 3), np.float32)}, "float32"),
        ({"type": "image", "image": np.zeros(9, np.float32)}, r"shape \(9,\)"),
    ],
)
def test_what_is_refused(content, says):
    with pytest.raises(ConfigError, match=says):
        part(content)


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([{"role": "tool", "content": "x"}], "'tool'"),
        ([{"content": "x"}], "None"),
        ([{"role": "assistant", "content": None}], "content None"),
        ([{"role": "assistant", "content": [{"type": "image", "path": "a.png"}]}], "media in a assistant"),
    ],
)
def test_messages_that_are_refused(messages, says):
    with pytest.raises(ConfigError, match=says):
        to_conversation(messages)
