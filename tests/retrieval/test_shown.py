"""Passages decoded for others to look at."""

from tests.retrieval.toys import picture, tone
from tests.toys import clip
from unifusion.conversation import Media
from unifusion.media.written import jpegs
from unifusion.retrieval.shown import looked_at, opened


def test_a_sound_is_decoded_alone(tmp_path):
    made = opened(Media(kind="audio", source=str(tone(tmp_path / "a.wav", "low"))))
    assert len(made.waveform_N) == made.sampling_rate_hz == 16_000 and made.frames_THWC is None


def test_only_what_is_asked_for_is_decoded_and_reported(tmp_path):
    still = opened(Media(kind="image", source=str(picture(tmp_path / "a.png", "red"))), sound=True)
    assert still.waveform_N is None and len(jpegs(still, 4)) == 1
    report = looked_at(clip(seconds=1.0), 2, False)
    assert report.streams["video"].frames == 2 and not report.streams["audio"].present and report.streams["audio"].reason
