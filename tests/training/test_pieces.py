"""Real recordings and stills as pieces of a row: what is known of each window, and what training sees of them."""

import random
import runpy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unifusion import share
from unifusion.conversation import Clip, Example, Media
from unifusion.datasets._files import Listed
from unifusion.datasets.mixture import Mixture
from unifusion.encoders.parakeet import Parakeet
from unifusion.errors import ConfigError
from unifusion.processor import StreamSpec
from unifusion.training.ground import real_pieces
from unifusion.training.known import ALIKE, Known, label_phrase
from unifusion.training.pieces import Pieces, loud_part

RATE = 16_000
TONE = 0.3 * np.sin(np.arange(2 * RATE) * 0.2).astype(np.float32)
SHAPE = {"duration_s": 6.0, "window_s": 0.5, "rate_hz": 4.0, "size_px": 32}


def sound(name, seconds=2.0, **labels):
    media = Media(kind="audio", source=Clip(waveform_N=TONE[: round(seconds * RATE)], duration_s=seconds))
    return Example(id=name, media=(media,), labels=labels, group=name, split="train")


def face(emotion, grey):
    still = Clip(frames_THWC=np.full((1, 48, 48, 3), grey, np.uint8), frame_times_s=np.zeros(1))
    return Example(id=f"face {emotion}", media=(Media(kind="image", source=still),), labels={"emotion": emotion}, split="train")


ROWS = {
    "voices": Listed([sound("v1", emotion="boredom", language="german"), sound("v2", emotion="happy", language="german")], None, "voices"),
    "digits": Listed([sound("d7", 0.3, digit="seven")], None, "digits"),
    "sounds": Listed([sound("bark", sound="dog bark"), sound("sneeze", sound="person sneeze")], None, "sounds"),
    "faces": Listed([face("sad", 90), face("happy", 200)], None, "faces"),
}
KNOWN = Known.of(r for part in ROWS.values() for r in part)


def told(example, stream="audio"):
    truth = KNOWN.truth(example, stream)
    return lambda phrase: int(truth[KNOWN.bank[stream].index(phrase)])


def test_labels_add_phrases_behind_those_of_clip_world():
    assert KNOWN.extra["video"] == ()
    assert KNOWN.extra["audio"] == (
        "boredom voice", "loud voice", "soft voice", "sound of dog bark", "sound of person sneeze", "the word seven",
    )  # fmt: skip
    sets = KNOWN.sets("audio")
    assert [KNOWN.bank["audio"][i] for i in sets["emotion"]][-2:] == ["disgust voice", "boredom voice"] and len(sets["emotion"]) == 8
    assert len(KNOWN.sets("video")["emotion"]) == 8
    unsure = ["loud voice", "soft voice", "sound of dog bark"]  # of clip world's clips
    assert [KNOWN.bank["audio"][i] for i in KNOWN.unsure_of("audio")] == unsure and KNOWN.unsure_of("video") == []


def test_a_label_rules_out_what_excludes_it_and_says_nothing_of_the_rest():
    voice = told(ROWS["voices"][0])
    assert (voice("boredom voice"), voice("happy voice"), voice("german speech"), voice("french speech")) == (1, 0, 1, 0)
    assert [voice(p) for p in ("a voice", "sound of rain", "no sound event", "high voice", "the word door")] == [1, 0, 1, -1, -1]
    digit = told(ROWS["digits"][0])
    assert (digit("the word seven"), digit("the word door"), digit("happy voice"), digit("sound of bell")) == (1, 0, -1, 0)
    bark, sneeze = told(ROWS["sounds"][0]), told(ROWS["sounds"][1])
    assert (bark("sound of dog bark"), bark("sound of bark"), bark("sound of rain"), bark("a voice"), bark("sad voice")) == (1, -1, 0, 0, 0)
    assert (sneeze("a voice"), sneeze("sad voice"), sneeze("no sound event")) == (-1, -1, 0)
    still = told(ROWS["faces"][0], "video")
    assert (still("sad face"), still("happy face"), still("a face"), still("no sign")) == (1, 0, 1, -1)
    assert label_phrase(ROWS["faces"][0], "video") == "sad face" and label_phrase(ROWS["sounds"][0], "audio") == "sound of dog bark"


def test_no_label_of_a_real_set_is_unsure_of_another():
    kinds = [*ALIKE, "rain"]
    rows = [sound(kind, sound=kind) for kind in kinds]
    known = Known.of(rows)
    index = {p: i for i, p in enumerate(known.bank["audio"])}
    for row in rows:
        truth = known.truth(row, "audio")
        assert {k: int(truth[index[f"sound of {k}"]]) for k in kinds} == {k: int(k == row.id) for k in kinds}


def test_sounds_stand_side_by_side_with_what_is_known_of_each():
    pieces = Pieces(ROWS, {"voices": 2.0, "digits": 1.0, "sounds": 1.0, "faces": 1.0}, "audio", KNOWN, SHAPE)
    assert list(pieces.rows) == ["voices", "digits", "sounds"]
    seen = set()
    for index in range(40):
        row = pieces.pack(index, 0)
        assert row.clip.waveform_N.shape == (6 * RATE,) and row.truth_KP.shape == (12, len(KNOWN.bank["audio"]))
        for k, group in enumerate(row.group_K.tolist()):
            true = {KNOWN.bank["audio"][i] for i in (row.truth_KP[k] == 1).nonzero().flatten().tolist()}
            assert bool(true) == (group >= 0)
            seen |= true
            loud = np.abs(row.clip.waveform_N[k * 8000 : (k + 1) * 8000]).max()
            assert group < 0 or loud > 0.001
    assert {"boredom voice", "happy voice", "the word seven", "sound of dog bark", "sound of person sneeze"} <= seen
    again, other = pieces.pack(3, 0), pieces.pack(3, 1)
    assert np.array_equal(again.clip.waveform_N, pieces.pack(3, 0).clip.waveform_N)
    assert not np.array_equal(again.clip.waveform_N, other.clip.waveform_N)


def test_a_voice_is_called_loud_or_high_by_the_thirds_of_its_set():
    tone = (0.1 * np.sign(np.sin(2 * np.pi * 150 * np.arange(2 * RATE) / RATE))).astype(np.float32)  # -20 dB, 150 Hz
    media = Media(kind="audio", source=Clip(waveform_N=tone, duration_s=2.0))
    labels = {"emotion": "sad", "gender": "female", "thirds": {"level_db": [-40.0, -30.0], "pitch_hz": [160.0, 220.0]}}
    row = Example(id="thirds", media=(media,), labels=labels, texts={"transcript": "It is eleven."}, split="train")
    known = Known.of([row])
    pieces = Pieces({"voices": Listed([row], None, "voices")}, {"voices": 1.0}, "audio", known, SHAPE)
    truth = pieces.alone(row).truth_KP[0]
    told = {p: int(truth[known.bank["audio"].index(p)]) for p in ("loud voice", "soft voice", "low voice", "high voice", "fast voice")}
    assert told == {"loud voice": 1, "soft voice": 0, "low voice": 1, "high voice": 0, "fast voice": -1}
    assert {p for p in known.extra["audio"] if truth[known.bank["audio"].index(p)] == 1} == {
        "loud voice", "a woman's voice", "says It is eleven.",
    }  # fmt: skip
    high = known.bank["audio"].index("low voice")
    fast = [pieces.pack(i, 0) for i in range(60)]  # a faster piece is higher: some leave the lowest third
    assert {0, 1} <= {int(row.truth_KP[k, high]) for row in fast for k in range(12) if row.group_K[k] >= 0}


def test_a_sound_behind_a_voice_is_known_too():
    pieces = Pieces(ROWS, {"voices": 5.0, "sounds": 1.0}, "audio", KNOWN, SHAPE)
    voice, bark, quiet = (KNOWN.bank["audio"].index(p) for p in ("a voice", "sound of dog bark", "no sound event"))
    truth = torch.cat([pieces.pack(i, 0).truth_KP for i in range(60)])
    alone, over = truth[(truth[:, voice] == 1) & (truth[:, quiet] == 1)], truth[(truth[:, voice] == 1) & (truth[:, quiet] == 0)]
    assert 0.15 < len(over) / (len(alone) + len(over)) < 0.45 and not (alone[:, bark] == 1).any()
    sounds = KNOWN.sets("audio")["sound"]
    assert ((over[:, sounds] == 1).sum(1) == 1).all() and ((over[:, KNOWN.sets("audio")["emotion"]] == 1).sum(1) == 1).all()


def test_every_window_shows_another_still():
    pieces = Pieces(ROWS, {"faces": 1.0}, "video", KNOWN, SHAPE)
    row = pieces.pack(0, 0)
    assert row.clip.frames_THWC.shape == (24, 32, 32, 3) and row.group_K.tolist() == list(range(12))
    happy, sad = (KNOWN.bank["video"].index(f"{e} face") for e in ("happy", "sad"))
    bright = np.median(row.clip.frames_THWC.reshape(12, -1), axis=1)  # the happy face is the light one, however it is lit
    assert bright[(row.truth_KP[:, happy] == 1).numpy()].mean() > bright[(row.truth_KP[:, sad] == 1).numpy()].mean() + 40


def test_a_row_alone_is_unchanged():
    alone = Pieces(ROWS, {"voices": 1.0}, "audio", KNOWN, SHAPE).alone(ROWS["voices"][1])
    assert np.allclose(alone.clip.waveform_N[: 2 * RATE], TONE, atol=1e-4) and not alone.clip.waveform_N[2 * RATE :].any()
    assert alone.group_K.tolist() == [0] * 4 + [-1] * 8
    still = Pieces(ROWS, {"faces": 1.0}, "video", KNOWN, SHAPE).alone(ROWS["faces"][0])
    assert (still.clip.frames_THWC == 90).all() and still.group_K.tolist() == [0]


def test_rows_of_two_sets_with_one_id_keep_their_own_pictures():
    light, dark = (replace(face("sad", grey), id="0001") for grey in (200, 90))
    pieces = Pieces({"a": Listed([light], None, "a"), "b": Listed([dark], None, "b")}, {"a": 1.0, "b": 1.0}, "video", KNOWN, SHAPE)
    assert (pieces.array(light) == 200).all() and (pieces.array(dark) == 90).all() and (pieces.array(light) == 200).all()


def test_silence_around_a_sound_is_left_out():
    padded = np.concatenate([np.zeros(RATE, np.float32), TONE, np.zeros(RATE, np.float32)])
    assert len(loud_part(padded)) == pytest.approx(len(TONE) + 0.2 * RATE, abs=0.05 * RATE)
    assert len(loud_part(np.zeros(RATE, np.float32))) == RATE and len(loud_part(TONE[:100])) == 100


def test_sounds_are_met_at_many_levels_and_voices_near_their_own():
    def levels(name, **options):
        pieces = Pieces({name: ROWS[name]}, {name: 1.0}, "audio", KNOWN, SHAPE, **options)
        changed = [pieces._changed(row, random.Random(i)) for row in ROWS[name] for i in range(150)]
        assert max(float(np.abs(piece).max()) for piece, _, _ in changed) <= 1.0
        for piece, _, change_db in changed[:40]:
            assert 20 * np.log10(np.sqrt(np.mean(piece**2)) / np.sqrt(np.mean(TONE**2))) == pytest.approx(change_db, abs=0.3)
        return np.std([change_db for _, _, change_db in changed])

    assert levels("voices") == pytest.approx(3.0, rel=0.15) and levels("sounds") == pytest.approx(8.0, rel=0.2)


def test_ingredients_can_be_left_out():
    plain = Pieces(ROWS, {"voices": 5.0, "sounds": 1.0}, "audio", KNOWN, SHAPE, without=frozenset({"changes", "noise"}))
    quiet = KNOWN.bank["audio"].index("no sound event")
    voice = KNOWN.bank["audio"].index("a voice")
    rows = [plain.pack(i, 0) for i in range(20)]
    truth = torch.cat([row.truth_KP for row in rows])
    assert (truth[truth[:, voice] == 1][:, quiet] == 1).all()
    assert all(np.abs(row.clip.waveform_N).max() <= 0.3 + 1e-4 for row in rows)  # nothing is louder than the recording
    faces = Pieces(ROWS, {"faces": 1.0}, "video", KNOWN, SHAPE, without=frozenset({"changes"})).pack(0, 0)
    assert set(np.unique(faces.clip.frames_THWC)) == {90, 200}


def test_alignment_refuses_to_leave_out_what_it_has_not():
    weights = runpy.run_path(str(share.folder("train") / "ground.py"))["weights_without"]
    assert weights(frozenset({"mask", "noise"})) == {"mask_rows": 0.0, "masked_weight": 0.0}
    with pytest.raises(ConfigError, match="did you mean 'choice'"):
        weights(frozenset({"choise"}))


def test_encoders_are_not_trained_on_a_part_that_says_so(tmp_path):
    pytest.importorskip("espeakng_loader", reason="voices need espeakng-loader: pip install 'unifusion-x[world]'")
    from tests.people import write_people

    data = write_people(tmp_path)
    text = (data / "mix.yaml").read_text(encoding="utf-8")
    (data / "more.yaml").write_text(
        text + "said: {dataset: said, only: train, aligned: false, options: {words: [hello, zero]}}\n", encoding="utf-8"
    )
    cache = SimpleNamespace(choices=SimpleNamespace(duration_s=6.0, rate_hz=4.0, size_px=32))
    spec = StreamSpec(encoder="parakeet", encoder_config=vars(Parakeet.tiny()))
    made = []
    for name in ("mix", "more"):
        train, val = (Mixture(data / f"{name}.yaml", data=data, split=split) for split in ("train", "val"))
        made.append(real_pieces("audio", spec, cache, (train, val, 0.5), 0)[0])
    said = Mixture(data / "more.yaml", data=data).parts["said"]
    assert len(said) == 1000 and said[0].labels["digit"] == "hello"
    assert list(made[0].rows) == list(made[1].rows) and made[0].known == made[1].known
