"""Where the words of a clip are taken from."""

import pytest

from tests.media.test_embedded import with_subtitles
from tests.media.test_subtitles import SRT, WANTED
from unifusion.conversation import Line, Media
from unifusion.engine.speech import Heard
from unifusion.engine.spoken import SpokenWords, beside
from unifusion.errors import MediaError


class Ear:
    """A recogniser that always hears the same."""

    name = "whisper toy"

    def __init__(self, *lines):
        self.lines, self.asked = list(lines), 0

    def hear(self, media, **_):
        assert not media.mute, "words of a clip whose sound the chat model shall not hear"
        self.asked += 1
        return Heard(lines=self.lines)


@pytest.fixture
def clip(tmp_path):
    return with_subtitles(tmp_path / "a.mkv", "subrip")


def words(clip, subtitles="auto", ear=None):
    return SpokenWords(subtitles=subtitles, transcriber=ear).of(Media(kind="video", source=str(clip)))


def test_a_file_beside_comes_before_the_clips_own_and_those_before_what_is_heard(clip):
    ear = Ear(Line(0.0, 0.5, "heard"))
    own = words(clip, ear=ear)
    assert (own.words_from, [x.text for x in own.subtitles], ear.asked) == ("embedded", ["Hi, you", "two rows"], 0)
    clip.with_name("a.en.srt").write_text(SRT)
    found = words(clip, ear=ear)
    assert (found.words_from, list(found.subtitles), ear.asked) == ("a.en.srt", WANTED, 0)
    heard = SpokenWords(transcriber=ear).of(Media(kind="video", source=str(clip)).muted("audio"))
    assert (heard.words_from, heard.subtitles, ear.asked) == ("whisper toy", (Line(0.0, 0.5, "heard"),), 1)


def test_a_named_file_is_taken_alone(clip, tmp_path):
    (tmp_path / "other.vtt").write_text("WEBVTT\n")
    named = words(clip, str(tmp_path / "other.vtt"), Ear(Line(0.0, 0.5, "heard")))
    assert (named.subtitles, named.words_from) == ((), ""), "it says that nothing is said"
    with pytest.raises(MediaError, match="no such file of subtitles"):
        words(clip, str(tmp_path / "none.srt"))


def test_words_that_are_there_stay_and_nothing_is_made_up(clip):
    media = Media(kind="video", source=str(clip), subtitles=(Line(0.0, 1.0, "mine"),), words_from="me")
    assert SpokenWords(subtitles="auto").of(media) is media
    still = Media(kind="image", source="a.png")
    assert SpokenWords(subtitles="auto", transcriber=Ear(Line(0.0, 1.0, "x"))).of(still) is still
    assert words(clip, "", Ear()).words_from == "" and SpokenWords().find(media) == ((), "")


def test_names_of_files_beside(tmp_path):
    for name in ("b.mp4", "b.de.vtt", "b.en.srt", "bb.srt", "b.txt"):
        (tmp_path / name).touch()
    assert beside(tmp_path / "b.mp4").name == "b.de.vtt" and beside(tmp_path / "c.mp4") is None
    (tmp_path / "b.vtt").touch()
    assert beside(tmp_path / "b.mp4").name == "b.vtt" and beside(tmp_path / "none" / "x.mp4") is None
