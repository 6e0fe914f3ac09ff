"""Rows of clip world: what is asked follows the choices, what is answered follows the script."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.toys import chat_model
from unifusion.batch import StreamReport
from unifusion.conversation import Clip, Media
from unifusion.processor import OpenedMedia
from unifusion.training.world_talks import WorldTalks, _compared, _hearing, _shown, moment, read_out, with_sound_of, without
from unifusion.world.captions import adjective
from unifusion.world.circumplex import POSITIONS
from unifusion.world.families_picture import face_emotion
from unifusion.world.questions import ask
from unifusion.world.sample import sample_script


class Scripts:
    """What WorldTalks reads of a cache, in text mode."""

    def __len__(self):
        return 12

    def script(self, index):
        return sample_script(3, index, split="train", duration_s=6.0, size_px=112)


@pytest.fixture(scope="module")
def rows():
    _, processor = chat_model()

    def make(**options):
        per_clip, mute = options.pop("per_clip", 20), options.pop("mute", 0.0)
        chosen = {"chat": 0.0, "template": 0.0, "long": 0.0, "limit": 20_000, **options}
        data = WorldTalks(Scripts(), processor, mode="text", per_clip=per_clip, mute=mute, options=chosen)
        return [(data[i], processor.tokenizer.decode(data[i].row.ids)) for i in range(len(data))]

    return make


def test_a_row_is_a_function_of_seed_and_number(rows):
    first, again, other = rows(), rows(), rows(seed=1)
    assert [r.row.ids for r, _ in first] == [r.row.ids for r, _ in again] != [r.row.ids for r, _ in other]


def test_relations_are_asked_again_about_others(rows):
    once, twice = rows(), rows(again=1)
    assert sum(max(r.turns) for r, _ in twice) > 1.3 * sum(max(r.turns) for r, _ in once)


def test_moments_are_what_the_script_says_of_that_second(rows):
    plain, asked = rows(per_clip=0), rows(per_clip=0, moments=2)
    assert all(max(r.turns) == 1 for r, _ in plain)  # a caption, where nothing else is asked
    for i, (row, text) in enumerate(asked):
        script = Scripts().script(i)
        if script.has_picture or script.has_sound:
            assert max(row.turns) == 2
            assert sum(moment(script, k, k + 1) in text.partition(read_out(script))[2] for k in range(6)) >= 1


def test_limit_and_chat(rows):
    row, _ = max(rows(again=1), key=lambda r: len(r[0].row.ids))
    cut, _ = max(rows(again=1, limit=len(row.row.ids) - 1), key=lambda r: len(r[0].row.ids))
    assert len(cut.row.ids) < len(row.row.ids)
    assert not any(r.apart for r, _ in rows(chat=1.0)) and all(r.apart for r, _ in rows())


def test_muted_streams_are_refused(rows):
    script = next(s for s in map(Scripts().script, range(12)) if s.identity is not None and s.utterance is not None)
    assert "face" not in read_out(without(script, ("video",))) and "voice" not in read_out(without(script, ("audio",)))
    assert any("there is no picture" in text or "there is no sound" in text for _, text in rows(mute=1.0))


def test_face_and_voice_are_set_against_each_other():
    answers = set()
    for script in (sample_script(0, i, split="train", duration_s=6.0, size_px=112) for i in range(80)):
        turns = _compared(script, random.Random(1), 2)
        if not turns:
            continue
        assert len(turns) == 2 and _compared(replace(script, utterance=None), random.Random(1), 2) == []
        face, voice = face_emotion(script), script.utterance.emotion
        for question, answer in turns:
            scale = 0 if "positive" in question else 1
            higher = POSITIONS[face][scale] > POSITIONS[voice][scale]
            assert answer == ("the same" if face == voice else "the face" if higher else "the voice")
            answers.add(answer)
    assert answers == {"the same", "the face", "the voice"}


def test_face_and_voice_are_asked_for_their_own_emotion_and_for_another(rows):
    seen = set()
    for i in range(60):
        script = sample_script(0, i, split="train", duration_s=6.0, size_px=112)
        turns = _shown(script, random.Random(i))
        if not turns:
            continue
        face, voice = adjective(face_emotion(script)), adjective(script.utterance.emotion)
        assert _shown(replace(script, identity=None), random.Random(i)) == [] and len(turns) == (4 if face == voice else 6)
        assert [a for _, a in turns if a in ("yes", "no")] == ["yes", "no"] * 2
        for question, answer in turns:
            own = voice if "voice" in question or "sound" in question else face
            if answer in ("the face", "the voice"):
                assert (face if answer == "the face" else voice) in question and face != voice
            else:
                assert (own in question) == (answer == "yes")
            seen.add(answer)
    assert seen == {"yes", "no", "the face", "the voice"}
    assert sum(text.count("face or voice") + text.count("the face or the voice") for _, text in rows(shown=2)) >= 12
    assert not any("Does the person look" in text for _, text in rows())


def test_with_anothers_sound_picture_questions_keep_their_answers_and_sound_questions_change():
    scripts = [s for s in map(Scripts().script, range(12)) if s.identity is not None and s.utterance is not None and s.sounds]
    own, other = next((a, b) for a in scripts for b in scripts if a.utterance.emotion != b.utterance.emotion)
    mixed = with_sound_of(own, other)
    assert (mixed.expressions, mixed.objects, mixed.sign) == (own.expressions, own.objects, own.sign)
    assert (mixed.utterance, mixed.sounds, mixed.background) == (other.utterance, other.sounds, other.background)
    assert mixed.agreement == ("agree" if face_emotion(own) == other.utterance.emotion else "conflict")
    answers = {q.family: q.answer for q in ask(mixed, families=("expression", "voice_emotion"))}
    assert answers["expression"] == face_emotion(own) and answers["voice_emotion"] == other.utterance.emotion


def test_a_share_of_rows_has_anothers_sound_and_the_rest_is_as_without():
    _, processor = chat_model()
    opened = []

    class Opener:
        """Notes what is opened."""

        def open(self, media):
            opened.append(media.source)
            frames, times = np.zeros((2, 8, 8, 3), np.uint8), np.arange(2.0)
            clip = Clip(frames_THWC=frames, frame_times_s=times, waveform_N=np.zeros(16000, np.float32), duration_s=2.0)
            return processor.opener.open(replace(media, source=clip))

    def rows(share):
        opened.clear()
        own = processor.with_opener(Opener())
        data = WorldTalks(Scripts(), own, mode="questions", per_clip=2, options={"limit": 20_000, "counterfactual": share})
        return [data[i].row.ids for i in range(len(data))], list(opened)

    plain, shown = rows(0.0)
    some, lent = rows(0.5)
    assert len(shown) == len(plain) and len(shown) < len(lent) < 2 * len(shown)
    assert rows(0.5)[1] == lent
    assert 0 < sum(a != b for a, b in zip(plain, some, strict=True)) < len(plain)


def test_the_sound_of_a_lender_goes_with_its_report():
    def item(name):
        return SimpleNamespace(name=name)

    def made(tag, **present):
        kinds = {"face": "video", "voice": "audio"}
        reports = {n: StreamReport(modality=m, present=present.get(n, True), reason=tag) for n, m in kinds.items()}
        streams = {n: item(tag) for n in kinds if present.get(n, True)}
        return OpenedMedia(media=Media(kind="video", source=b""), streams=streams, reports=reports, duration_s=1.0)

    both = _hearing(made("own"), made("lent"))
    assert (both.streams["face"].name, both.streams["voice"].name) == ("own", "lent")
    assert (both.reports["face"].reason, both.reports["voice"].reason) == ("own", "lent")
    silent = _hearing(made("own"), made("lent", voice=False))
    assert set(silent.streams) == {"face"} and not silent.reports["voice"].present
