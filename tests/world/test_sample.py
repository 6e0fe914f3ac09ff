"""Scripts: pure functions of (seed, split, index), balanced, and apart between splits."""

import hashlib
import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion.errors import ConfigError
from unifusion.world.draw import Draw
from unifusion.world.effects import minimum_seconds
from unifusion.world.sample import SPLITS, VOICE_EMOTIONS, identity_of, sample_script
from unifusion.world.scenes import grid_time, pool
from unifusion.world.script import EMOTIONS, Script
from unifusion.world.sentences import estimate_s, meaning_of, voice_of
from unifusion.world.speakers import SPEAKERS
from unifusion.world.world_file import ranges

BLOCK = [sample_script(5, i) for i in range(672)]
"""One whole period of the strata of faces and voices."""
HELD_OUT_PAIRS = {tuple(pair) for pair in ranges()["objects"]["held_out_pairs"]}


def digest(count: int = 40) -> str:
    return hashlib.sha256("".join(sample_script(3, i).to_json() for i in range(count)).encode()).hexdigest()


def test_scripts_are_equal_in_another_process_with_another_hash_seed():
    code = (
        "import hashlib; from unifusion.world.sample import sample_script;"
        "print(hashlib.sha256(''.join(sample_script(3, i).to_json() for i in range(40)).encode()).hexdigest())"
    )
    env = {**os.environ, "PYTHONHASHSEED": "77"}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout.strip() == digest()


def test_seed_split_and_index_each_make_another_clip():
    base = sample_script(1, 2)
    assert base == sample_script(1, 2)
    for other in (sample_script(2, 2), sample_script(1, 3), sample_script(1, 2, split="test_iid")):
        assert (other.identity, other.utterance, other.objects) != (base.identity, base.utterance, base.objects)


def test_length_and_size_do_not_change_who_is_there():
    short, long = sample_script(0, 9, duration_s=3.0, size_px=64), sample_script(0, 9, duration_s=12.0)
    assert short.identity == long.identity and len(short.objects) == len(long.objects)
    assert (short.size_px, short.duration_s) == (64, 3.0)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 10**7), st.sampled_from(SPLITS), st.sampled_from([2.0, 3.5, 6.0, 12.0]))
def test_everything_lies_inside_the_clip_and_survives_json(seed, index, split, duration_s):
    script = sample_script(seed, index, split=split, duration_s=duration_s)
    assert Script.from_json(script.to_json()) == script
    for event in (*script.expressions, *script.sounds, *script.objects, *([script.sign] if script.sign else [])):
        assert 0 <= event.start_s < event.end_s <= duration_s + 1e-9
    for sound in script.sounds:
        assert sound.end_s - sound.start_s >= minimum_seconds(sound.kind, sound.count) - 1e-9
    for shown in script.expressions:
        assert shown.start_s < shown.apex_s <= shown.offset_s <= shown.end_s
    assert len({o.shape for o in script.objects}) == len({o.colour for o in script.objects}) == len(script.objects)
    if script.utterance is not None:
        assert script.utterance.start_s + estimate_s(script.utterance) <= duration_s
        assert script.utterance.meaning == meaning_of(script.utterance.text)
    assert not (script.identity and not script.has_picture) and not ((script.sounds or script.utterance) and not script.has_sound)


def test_faces_voices_and_counts_are_exactly_balanced_over_a_period():
    faces = Counter((s.expressions[0].emotion if s.expressions else "neutral") for s in BLOCK if s.identity)
    assert set(faces) == set(EMOTIONS) and max(faces.values()) - min(faces.values()) <= 20
    everyone = [s for s in (sample_script(5, i) for i in range(672)) if s.identity and s.utterance]
    asked = [s for s in everyone if not s.expressions or s.expressions[0].emotion != "contempt"]
    assert abs(sum(s.agreement == "agree" for s in asked) / len(asked) - 0.5) < 0.05
    voices = Counter(s.utterance.emotion for s in everyone)
    assert set(voices) == set(VOICE_EMOTIONS) and max(voices.values()) < 1.25 * min(voices.values())
    seen = Counter(len(s.objects) for s in BLOCK if s.has_picture)
    assert max(seen.values()) - min(seen.values()) <= 20 and set(seen) == {0, 1, 2, 3}


def test_some_clips_lack_a_stream_and_no_clip_lacks_two():
    for part in ("has_picture", "has_sound"):
        assert 0.03 < sum(not getattr(s, part) for s in BLOCK) / len(BLOCK) < 0.07
    assert 0.08 < sum(s.identity is None for s in BLOCK) / len(BLOCK) < 0.12
    assert 0.08 < sum(s.utterance is None for s in BLOCK) / len(BLOCK) < 0.12
    assert all(s.has_picture or s.has_sound for s in BLOCK)


def test_emotion_of_the_voice_says_nothing_about_the_words():
    said = [sample_script(6, i).utterance for i in range(2000)]
    for emotion in ("happy", "sad"):
        happy = [s.meaning for s in said if s and s.emotion == emotion and s.meaning in ("happy", "sad")]
        assert abs(happy.count("happy") / len(happy) - 0.5) < 0.12


@pytest.mark.parametrize("split", SPLITS)
def test_splits_draw_from_their_own_pools(split):
    scripts = [sample_script(0, i, split=split) for i in range(150)]
    people = ranges()["identities"]["held_out" if split == "test_new_people" else "train"]
    assert all(people[0] <= s.identity.seed < people[1] for s in scripts if s.identity)
    variants = {s.utterance.voice.variant for s in scripts if s.utterance}
    held_out_variants = {v for group in ranges()["voice"]["variants"]["held_out"].values() for v in group}
    assert variants <= held_out_variants if split == "test_new_people" else not variants & held_out_variants
    new = split == "test_new_combinations"
    assert all(((o.shape, o.colour) in HELD_OUT_PAIRS) == new for s in scripts for o in s.objects)
    seeds = ranges()["sound_seeds"]["held_out" if new else "train"]
    assert all(seeds[0] <= e.seed < seeds[1] for s in scripts for e in s.sounds)


def test_held_out_sentences_are_never_spoken_elsewhere():
    heard = {split: {s.utterance.text for i in range(800) if (s := sample_script(0, i, split=split)).utterance} for split in SPLITS}
    others = set.union(*(heard[s] for s in SPLITS if s != "test_new_combinations"))
    assert len(heard["test_new_combinations"]) > 20 and not heard["test_new_combinations"] & others


def test_the_world_file_has_the_sentences_and_pools_that_were_asked_for():
    sentences = ranges()["sentences"]
    counts = {lang: sum(len(p) for m in meanings.values() for p in m.values()) for lang, meanings in sentences.items()}
    assert counts["english"] >= 40 and min(counts.values()) >= 15
    for meanings in sentences.values():
        assert set(meanings) == set(VOICE_EMOTIONS) and all(m["train"] and m["held_out"] for m in meanings.values())
    variants = ranges()["voice"]["variants"]
    train, held_out = ({v for group in variants[part].values() for v in group} for part in ("train", "held_out"))
    assert train | held_out <= set(SPEAKERS) and not train & held_out
    for part in ("identities", "voices", "sound_seeds"):
        assert ranges()[part]["train"][1] <= ranges()[part]["held_out"][0]


def test_identities_are_balanced_and_depend_on_their_id_alone():
    looks = [identity_of(i) for i in range(400)]
    assert sum(x.glasses for x in looks) == sum(x.beard for x in looks) == sum(x.glasses and x.beard for x in looks) * 2 == 200
    assert len({(x.skin, x.hair, x.hair_style, x.face_width) for x in looks}) > 390
    assert voice_of(4).register == "high" and voice_of(5).register == "low"


def test_wrong_requests_are_refused_with_a_remedy():
    with pytest.raises(ConfigError, match="did you mean 'test_iid'"):
        sample_script(0, 0, split="test_idd")
    with pytest.raises(ConfigError, match=r"20.0 s, wanted 2.0 to 12.0"):
        sample_script(0, 0, duration_s=20.0)
    with pytest.raises(ConfigError, match="size of 8 px"):
        sample_script(0, 0, size_px=8)
    with pytest.raises(ConfigError, match="index -1"):
        sample_script(0, -1)


def test_draws_are_uniform_named_and_independent_of_order():
    draw = Draw("test", 1)
    first = draw.unit("a")
    assert draw.unit("b") != first == Draw("test", 1).unit("a")
    units = [Draw("test", i).unit("a") for i in range(4000)]
    assert abs(sum(units) / 4000 - 0.5) < 0.02 and 0 <= min(units) and max(units) < 1
    assert sorted(draw.shuffled("s", range(9))) == list(range(9))
    counts = Counter(Draw(i).weighted("w", [1, 3]) for i in range(4000))
    assert abs(counts[1] / 4000 - 0.75) < 0.03


def test_grid_times_are_near_the_grid_and_uniform():
    times = [grid_time(Draw(i), "t", 0.5, 2.0) for i in range(2000)]
    nearest = Counter(round(t / 0.5) for t in times)
    assert set(nearest) == {1, 2, 3, 4} and max(nearest.values()) < 1.2 * min(nearest.values())
    assert max(abs(t - round(t / 0.5) * 0.5) for t in times) <= ranges()["clip"]["jitter_s"] + 1e-9


def test_pools():
    assert pool("val", "people") == "train" and pool("test_new_people", "people") == "held_out"
    assert pool("test_new_people", "combinations") == "train"
