"""Recordings window by window: windows are those of the plain answer, what shows nothing is absent, memory and encoding are bounded."""

import io
from dataclasses import replace

import numpy as np
import pytest

from tests import toys
from tests.media.clips import barcode, encode, number_of, tone
from tests.models.test_affect import model
from unifusion.conversation import Clip, Media
from unifusion.engine import recording
from unifusion.engine.affect import AffectEngine
from unifusion.engine.emotion import feel_moments, open_moment, score_moments
from unifusion.engine.recording import Kept, read_pcm, read_pieces
from unifusion.engine.stream import Window, rates_of, smoothed, stream_emotions
from unifusion.errors import ConfigError, LimitError, MediaError

LABELS = ("sad", "happy", "angry")


def cut(clip, every_s):
    """A clip as pieces that follow each other."""
    pieces = []
    for start in np.arange(0.0, clip.duration_s - 1e-6, every_s):
        length = min(every_s, clip.duration_s - start)
        frames = None
        if clip.frames_THWC is not None:
            frames = (clip.frame_times_s >= start - 1e-6) & (clip.frame_times_s < start + length - 1e-6)
        rate = clip.sampling_rate_hz
        pieces.append(
            replace(
                clip, start_s=float(start), duration_s=float(length),
                frames_THWC=None if frames is None else clip.frames_THWC[frames],
                frame_times_s=None if frames is None else clip.frame_times_s[frames] - start,
                waveform_N=None if clip.waveform_N is None else clip.waveform_N[round(start * rate) : round((start + length) * rate)],
            )
        )  # fmt: skip
    return pieces


def plainly(engine, clip, start_s, end_s):
    """Shares of the labels, valence and arousal of a span, as the plain answer has them."""
    media = [Media(kind="video", source=clip, start_s=start_s, end_s=end_s)]
    if isinstance(engine, AffectEngine):
        answer = engine.emotion(media, labels=LABELS)
        return answer.probabilities, (answer.valence, answer.arousal)
    moment = open_moment(engine, media, LABELS)
    (scores,) = score_moments(engine, [moment], LABELS)
    return dict(zip(scores.labels, scores.probabilities, strict=True)), feel_moments(engine, [moment])[0]


@pytest.fixture(params=["chat", "fusion"])
def engine(request, tiny_engine):
    return tiny_engine if request.param == "chat" else AffectEngine(model(labels=LABELS))


@pytest.mark.parametrize(("every_s", "batch_size"), [(0.5, 3), (10.0, 8), (0.75, 1)])
def test_windows_are_told_as_their_spans_are(engine, every_s, batch_size):
    clip = toys.clip(seconds=4.0)
    told = list(stream_emotions(engine, cut(clip, every_s), window_s=1.5, hop_s=0.5, batch_size=batch_size, labels=LABELS))
    assert [(w.start_s, w.end_s) for w in told] == [(i / 2, i / 2 + 1.5) for i in range(6)]
    for window in told:
        shares, felt = plainly(engine, clip, window.start_s, window.end_s)
        assert window.probabilities == pytest.approx(shares, abs=1e-4) and window.label == max(shares, key=shares.get)
        assert (window.valence, window.arousal) == pytest.approx(felt, abs=1e-4)
        assert {"video", "audio"} <= set(window.streams)


def test_what_remains_is_a_window_too_and_a_short_recording_is_one(tiny_engine):
    ends = lambda seconds: [  # noqa: E731
        (w.start_s, round(w.end_s, 3))
        for w in stream_emotions(tiny_engine, cut(toys.clip(seconds=seconds), 1.0), window_s=2.0, hop_s=1.0, labels=LABELS)
    ]
    assert ends(1.25) == [(0.0, 1.25)] and ends(2.0) == [(0.0, 2.0)]
    assert ends(3.25) == [(0.0, 2.0), (1.0, 3.0)] and ends(2.75) == [(0.0, 2.0), (0.75, 2.75)]
    assert list(stream_emotions(tiny_engine, [])) == []


def test_silence_and_blank_pictures_are_absent(engine):
    clip = toys.clip(seconds=6.0)
    sound, frames = clip.waveform_N.copy(), clip.frames_THWC.copy()
    sound[: 4 * 16_000] *= 1e-5  # far below hearing, and not zero
    frames[clip.frame_times_s < 2.0] = 7
    clip = replace(clip, waveform_N=sound, frames_THWC=frames)
    told = list(stream_emotions(engine, cut(clip, 1.0), window_s=2.0, hop_s=2.0, labels=LABELS))
    nothing, seen, both = told
    assert nothing.label == "" and not nothing.streams and nothing.probabilities == {} and nothing.to_dict()["label"] is None
    assert nothing.absent == {"audio": "silence", "video": "the picture shows nothing"}
    assert seen.streams == ("video",) and seen.absent["audio"] == "silence" and both.streams == ("video", "audio")
    assert seen.probabilities == pytest.approx(plainly(engine, replace(clip, waveform_N=None), 2.0, 4.0)[0], abs=1e-4)


def test_chunks_are_encoded_once(engine, monkeypatch):
    shown, encode_chunks = [], {}
    for name, encoder in engine.model.encoders.items():
        encode_chunks[name] = encoder.encode_chunks
        monkeypatch.setattr(
            encoder, "encode_chunks",
            lambda name=name, **t: shown.append((name, len(next(iter(t.values()))))) or encode_chunks[name](**t),
        )  # fmt: skip
    clip = toys.clip(seconds=8.0)
    list(stream_emotions(engine, cut(clip, 1.0), window_s=4.0, hop_s=1.0, batch_size=2, labels=LABELS))
    windows = 5
    whole = {n: len(next(iter(i.tensors.values()))) for n, i in _opened(engine, clip).items() if n in ("video", "audio")}
    for name, chunks in whole.items():
        spent = sum(n for own, n in shown if own == name)
        assert spent <= chunks + windows, f"{name}: {spent} for {windows} windows that share {chunks}"


def _opened(engine, clip):
    """The whole clip as encoders are given it."""
    media = Media(kind="video", source=clip)
    return engine.open([media]).streams if isinstance(engine, AffectEngine) else engine.processor.open(media).streams


def test_only_what_windows_need_is_kept(tiny_engine, monkeypatch):
    most, add = [], Kept.add
    monkeypatch.setattr(Kept, "add", lambda self, piece: add(self, piece) or most.append(len(self._pieces)))
    monkeypatch.setattr("unifusion.engine.stream._ChatTeller.answers", lambda self, opened: [({"a": 1.0}, None, None, {}) for _ in opened])
    clip = toys.clip(seconds=1.0, picture=False)
    pieces = (replace(clip, start_s=float(i)) for i in range(300))
    assert sum(1 for _ in stream_emotions(tiny_engine, pieces, window_s=3.0, hop_s=1.0)) == 298
    assert max(most) <= 6
    with pytest.raises(LimitError, match="are kept"):
        kept = Kept(most_s=2.0)
        for i in range(4):
            kept.add(replace(clip, start_s=float(i)))


def test_each_window_is_told_before_the_next_piece_is_read_where_wanted(tiny_engine):
    read = []

    def live():
        for piece in cut(toys.clip(seconds=3.0, picture=False), 0.5):
            read.append(piece.start_s)
            yield piece

    told = stream_emotions(tiny_engine, live(), window_s=1.0, hop_s=0.5, batch_size=1, labels=LABELS)
    assert next(told).end_s == 1.0 and read == [0.0, 0.5]
    assert next(told).end_s == 1.5 and read == [0.0, 0.5, 1.0]


def test_smoothing_is_the_mean_of_what_came_before():
    def window(at, share, valence=0.0):
        return Window(start_s=at - 1, end_s=at, label="a", probabilities={"a": share, "b": 1 - share}, valence=valence, streams=("audio",))

    rows = [window(1.0, 1.0, 1.0), window(2.0, 0.0, None), Window(start_s=2.0, end_s=3.0), window(4.0, 0.0, -0.5)]
    assert list(smoothed(rows, 0.0)) == rows
    out = list(smoothed(rows, 2.0))
    assert [w.probabilities.get("a") for w in out] == [1.0, 0.5, None, 0.0] and [w.label for w in out] == ["a", "a", "", "b"]
    assert [w.valence for w in out] == [1.0, 1.0, None, -0.5]
    assert [w.probabilities.get("a") for w in smoothed(rows, 10.0)][-1] == pytest.approx(1 / 3)


def test_raw_sound_comes_as_it_is():
    samples = np.array([0, 16384, -32768, 32767, 1, 2, 3], "<i2")
    pieces = list(read_pcm(io.BytesIO(samples.tobytes() + b"\x01"), sampling_rate_hz=4000, piece_s=0.001))
    np.testing.assert_allclose(np.concatenate([p.waveform_N for p in pieces]) * 32768, samples)
    assert [p.start_s for p in pieces] == [0.0, 0.001] and pieces[0].duration_s == 0.001
    with pytest.raises(ConfigError, match="--rate"):
        list(read_pcm(io.BytesIO(b""), sampling_rate_hz=8, piece_s=1.0))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Nine seconds of numbered frames with a rising tone."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    path.write_bytes(encode(frames=225))
    return str(path)


@pytest.mark.parametrize("piece_bytes", [10**9, 4 * 4 * 96 * 192 * 3])
def test_pieces_of_a_file_are_the_file(film, monkeypatch, piece_bytes):
    monkeypatch.setattr(recording, "_PIECE_BYTES", piece_bytes)
    media = Media(kind="video", source=film)
    pieces = list(read_pieces(media, rate_hz=4.0, sampling_rate_hz=16_000))
    assert len(pieces) == (1 if piece_bytes == 10**9 else 3)
    kept = Kept(most_s=99.0)
    for piece in pieces:
        kept.add(piece)
    window = kept.window(3.0, 6.0)
    assert [number_of(f) for f in window.frames_THWC] == [int(25 * t + 1e-6) for t in np.arange(3.0, 6.0, 0.25)]
    np.testing.assert_allclose(window.frame_times_s, np.arange(0.0, 3.0, 0.25), atol=0.041)
    assert window.waveform_start_s == 0.0 and len(window.waveform_N) == 48_000
    wanted = tone(6.0, 16_000)[48_000:]  # a piece begins up to a third of a sample off, as a span does that is read by itself
    shifted = [np.corrcoef(window.waveform_N, np.roll(wanted, k))[0, 1] for k in (-1, 0, 1)]
    assert int(np.argmax(shifted)) == 1 and shifted[1] > 0.96
    span = list(read_pieces(replace(media, start_s=7.5, end_s=99.0), rate_hz=4.0, sampling_rate_hz=None))
    assert span[0].start_s == 7.5 and span[0].waveform_N is None and number_of(span[0].frames_THWC[0]) in (187, 188)


def test_a_film_is_told_as_its_spans_are(film, tiny_engine):
    rate, sound = rates_of(tiny_engine)
    told = list(stream_emotions(tiny_engine, read_pieces(Media(kind="video", source=film), rate_hz=rate, sampling_rate_hz=sound),
                                window_s=2.0, hop_s=1.5, labels=LABELS))  # fmt: skip
    assert [round(w.end_s, 2) for w in told][:4] == [2.0, 3.5, 5.0, 6.5] and {w.streams for w in told} == {("video", "audio")}
    for window in told[1:4]:  # borders where no frame begins too
        assert window.probabilities == pytest.approx(plainly(tiny_engine, film, window.start_s, window.end_s)[0], abs=2e-3)


def test_what_is_no_recording_is_refused(tmp_path, tiny_engine):
    still = tmp_path / "still.png"
    from PIL import Image

    Image.fromarray(barcode(3)).save(still)
    for media, said in (
        (Media(kind="image", source=str(still)), "nothing that goes on"), (Media(kind="video", source=toys.clip()), "no file"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            list(read_pieces(media, rate_hz=4.0, sampling_rate_hz=16_000))
    with pytest.raises(MediaError):
        list(read_pieces(Media(kind="video", source="missing.mp4"), rate_hz=4.0, sampling_rate_hz=16_000))
    for wrong in ({"window_s": 0.0}, {"hop_s": -1.0}, {"batch_size": 0}, {"window_s": 99.0}):
        with pytest.raises(ConfigError, match="windows of"):
            list(stream_emotions(tiny_engine, [Clip()], **wrong))
    with pytest.raises(ConfigError, match="does not know"):
        list(stream_emotions(AffectEngine(model()), [], labels=["bored", "angry"]))
