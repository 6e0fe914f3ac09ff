"""Words of a clip: spread over it whatever else is decoded, told even where nothing else is, bounded."""

import pytest
import torch

from tests.toys import streams
from unifusion import catalog, media
from unifusion.cli.checks.codecs import make_clip
from unifusion.conversation import Media
from unifusion.errors import LimitError, MediaError
from unifusion.processor import MediaOpener, StreamSpec

LINEAR = vars(catalog.load("adapters", "linear").tiny())
TEXT = {
    "said": StreamSpec(
        encoder="bert", encoder_config=vars(catalog.load("encoders", "bert").tiny()), adapter="linear", adapter_config=LINEAR
    )
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("words") / "a.mp4"
    make_clip(path, "libx264", "aac")
    return str(path)


def said(opener, source, *muted, **options):
    return opener.open(Media(kind="video", source=source, transcript="hello you", **options).muted(*muted))


def test_words_lie_over_the_clip_whatever_else_is_read(file):
    whole = said(MediaOpener({**streams(), **TEXT}), file)
    alone = said(MediaOpener({**streams(), **TEXT}, only=["said"]), file)
    assert torch.equal(alone.streams["said"].times_S, whole.streams["said"].times_S)
    assert alone.reports["said"] == whole.reports["said"] and whole.streams["said"].times_S.max() > 0.5


def test_words_need_no_picture_and_no_sound(file, monkeypatch):
    monkeypatch.setattr(media, "read_clip", lambda *a, **k: pytest.fail("it was decoded"))
    for opened in (said(MediaOpener(TEXT), file), said(MediaOpener({**streams(), **TEXT}), file, "video", "audio")):
        assert list(opened.streams) == ["said"] and opened.duration_s == pytest.approx(1.0, abs=0.1)
    late = said(MediaOpener(TEXT, max_seconds=0.5), file, start_s=0.25, end_s=9.0)
    assert late.duration_s == 0.5 and late.reports["said"].cropped_s == 0.0, "words are read whole"
    with pytest.raises(MediaError, match="or say what is said in it"):
        MediaOpener(TEXT).open(Media(kind="video", source=file))


def test_a_file_of_which_nothing_is_asked_is_told_so(file):
    with pytest.raises(MediaError, match="only the sound was asked for"):
        MediaOpener({"video": streams()["video"]}).open(Media(kind="audio", source=file))


def test_words_have_a_limit(file):
    with pytest.raises(LimitError, match="a transcript of 1000000 characters"):
        MediaOpener(TEXT).open(Media(kind="video", source=file, transcript="x" * 1_000_000))
