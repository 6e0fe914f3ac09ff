"""What real clips are asked, and that every answer is what the labels say or the clip lacks."""

import json
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch

from tests.people import write_people
from tests.toys import chat_model
from unifusion import share
from unifusion.conversation import Conversation, Example, Media, Message, Mix, Take
from unifusion.datasets.mixture import Mixture
from unifusion.errors import DatasetError
from unifusion.media.prosody import Prosody
from unifusion.training.facts import (
    DIGITS,
    PLACES,
    SPOKEN,
    Facts,
    _of_words,
    altered,
    caption_of,
    evidence_of,
    facts_of,
    turns_of,
    with_article,
)
from unifusion.training.grammar import Grammar
from unifusion.training.real_talks import TAKES, Blend, RealTalks, measured_prosody, texts_of
from unifusion.training.talks import collate_turns, told_turns
from unifusion.world.world_file import phrasings

GRAMMAR = Grammar(share.folder("train") / "questions" / "people.yaml")
MISSING = phrasings()["missing"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_people(tmp_path_factory.mktemp("people"))


def ask(facts, seed=0, **options):
    return turns_of(facts, GRAMMAR, random.Random(seed), **options)


def test_labels_become_facts():
    voice = Media(kind="audio", source="v.wav")
    labels = {"emotion": "sad", "language": "german", "gender": "male", "thirds": {"level_db": [-40, -30], "pitch_hz": [120, 220]}}
    row = Example(id="v", media=(voice,), labels=labels, texts={"transcript": "Guten Tag."})
    facts = facts_of(row, Prosody(level_db=-20.0, pitch_hz=110.0, rate_hz=4.0, brightness_hz=500.0))
    assert (facts.picture, facts.sound, facts.face, facts.voice, facts.emotion) == (False, True, "", "sad", "sad")
    assert facts.told == {"language": "german", "gender": "male", "statement": "Guten Tag."}
    assert facts.thirds == {"level_db": "high", "pitch_hz": "low"}
    face = Media(kind="image", source="f.png")
    still = Facts(picture=True, sound=False, face="happy", has_voice=False)
    assert facts_of(Example(id="f", media=(face,), labels={"emotion": "happy"})) == still
    mix = Media(kind="video", source=Mix(still=face, voice=voice))
    both = facts_of(Example(id="m", media=(mix,), labels={"face_emotion": "happy", "voice_emotion": "sad", "sound": "rain"}))
    assert (both.face, both.voice, both.emotion, both.told) == ("happy", "sad", "", {"background": "rain"})
    cry = facts_of(Example(id="s", media=(voice,), labels={"sound": "baby cry"}))
    assert cry.has_voice is None and facts_of(Example(id="s", media=(voice,), labels={"sound": "rain"})).has_voice is False


def test_answers_are_what_is_known():
    facts = Facts(
        picture=True, sound=True, face="happy", voice="surprise", has_voice=True, thirds={"level_db": "high", "pitch_hz": "middle"},
        told={"gender": "female", "background": "rain"},
    )  # fmt: skip
    plain = set()
    for seed in range(30):
        answers = [a for _, a in ask(facts, seed, sounds=("dog bark", "rain"))]
        assert ("the same" in answers) is False
        left = Counter(a for a in answers if a not in ("the face", "the voice"))
        left -= Counter(["happy", "surprise", "no", "no", "no", "a woman", "rain", "loud", "medium", "yes", "no", *("yes", "no") * 2])
        heard = "A woman speaks. The voice is surprised. There is rain in the background."
        assert 1 <= left.total() <= 2 and set(left) <= {"yes", "one", "The face is happy.", heard}
        plain |= set(left)
        which = [(q.lower(), a) for q, a in ask(facts, seed) if a in ("the face", "the voice")]
        compared = [(q, a) for q, a in which if "more" in q or "happier" in q]  # happy: 0.81, 0.51; surprise: 0.40, 0.67
        assert len(which) == 8 and {a for _, a in compared} == {"the face", "the voice"}
        assert all((a == "the face") == any(w in q for w in ("positive", "pleasant", "happier")) for q, a in compared)
        shown = [t for t in which if t not in compared]
        assert {a for _, a in shown} == {"the face", "the voice"} and all(("happ" in q) == (a == "the face") for q, a in shown)
        asked = {(q.lower(), a) for q, a in ask(facts, seed) if a in ("yes", "no")}
        said = {
            ("face", "look", "expression", "picture"): {"happ": "yes", "surpris": "no"},
            ("voice", "hear", "sound", "tone", "speak"): {"happ": "no", "surpris": "yes"},
        }
        for words, answers in said.items():
            for emotion, answer in answers.items():
                assert any(a == answer and emotion in q and any(w in q for w in words) for q, a in asked), (emotion, words, asked)
    assert len(plain) == 4
    agreeing = Facts(picture=True, sound=True, face="sad", voice="sad", has_voice=True)
    assert [a for _, a in ask(agreeing)].count("the same") == 2


def test_what_is_missing_is_said():
    still = dict(ask(Facts(picture=True, sound=False, face="sad", has_voice=False)))
    assert {"sad", "unpleasant", "calm", MISSING["sound"]} <= set(still.values()) and MISSING["picture"] not in still.values()
    rain = [a for _, a in ask(Facts(picture=False, sound=True, has_voice=False, told={"sound": "rain"}), sounds=("rain", "rooster"))]
    assert MISSING["voice"] in rain and MISSING["picture"] in rain and rain.count("rain") == 1 and {"yes", "no"} <= set(rain)
    colour = [a for seed in range(150) for q, a in ask(Facts(picture=False, sound=True, has_voice=False), seed) if "What colour" in q]
    music = [a for seed in range(60) for q, a in ask(Facts(picture=True, sound=False, face="sad"), seed) if "music" in q]
    assert len(colour) >= 5 and set(colour) == {MISSING["picture"]} and len(music) >= 3 and set(music) == {MISSING["sound"]}
    muted = Facts(picture=True, sound=True, face="sad", voice="happy", has_voice=True, told={"gender": "male"}).without(("audio",))
    assert muted == Facts(picture=True, sound=False, face="sad", has_voice=False)


def test_valence_and_arousal_are_the_mean_of_face_and_voice(data):
    assert Facts(picture=True, sound=False, face="sad").affect == PLACES["sad"] and Facts(picture=True, sound=True).affect is None
    both = Facts(picture=True, sound=True, face="happy", voice="angry").affect
    assert both == pytest.approx(((0.81 - 0.51) / 2, (0.51 + 0.59) / 2))
    mixture, (_, processor) = Mixture(data / "mix.yaml", data=data), chat_model()
    talks = RealTalks(mixture, processor, GRAMMAR, count=60, options={"template": 1.0})
    told = []
    for index in range(len(talks)):
        part, example, media = talks.row_of(index)
        known = facts_of(example) if media is not None else None
        if known is None or known.affect is None:
            continue
        found = [a for _, a in talks._templates(part, known, example, random.Random(index)) if a.startswith("valence")]
        valence, arousal = (round(v, 1) + 0 for v in known.affect)
        assert found in ([], [f"valence {valence:.1f}, arousal {arousal:.1f}"])
        told.append(bool(found))
    assert 0.2 < sum(told) / len(told) < 0.8


def test_differences_that_nobody_can_judge_are_not_asked():
    near = Facts(picture=True, sound=True, face="fear", voice="disgust", has_voice=True)  # -0.64 and -0.60, 0.60 and 0.35
    for seed in range(10):
        compared = [q for q, a in ask(near, seed) if a in ("the face", "the voice") and "more" in q.lower()]
        assert len(compared) == 1 and any(w in compared[0] for w in ("excit", "agitat", "tens", "stirred", "energy"))


def test_a_sound_without_a_voice_has_no_words_and_a_voice_alone_nothing_behind_it():
    rain = Facts(picture=False, sound=True, has_voice=False, told={"sound": "rain"})
    refused = {q for seed in range(40) for q, a in ask(rain, seed) if a == MISSING["voice"]}
    assert any("language" in q for q in refused) and any("pitch" in q or "high" in q for q in refused) and len(refused) > 60
    alone = Facts(picture=False, sound=True, voice="sad", has_voice=True, alone=True)
    turns = [t for seed in range(60) for t in ask(alone, seed, sounds=("rain", "rooster"))]
    heard = [a for q, a in turns if "rain" in q or "rooster" in q]
    assert 8 < [a for _, a in turns].count("nothing") < 30 and 4 < heard.count("no") < 25 and "yes" not in heard
    unsure = [t for seed in range(60) for t in ask(replace(alone, alone=False), seed, sounds=("rain",))]
    assert not any(a == "nothing" or "rain" in q for q, a in unsure)


def test_what_a_cut_a_covered_and_a_filmed_voice_tell():
    voice, prosody = Media(kind="audio", source="v.wav"), Prosody(level_db=-20.0, pitch_hz=110.0, rate_hz=4.0, brightness_hz=500.0)
    labels = {"emotion": "sad", "thirds": {"level_db": [-40, -30], "pitch_hz": [120, 220]}}
    row = Example(id="v", media=(voice,), labels=labels, texts={"transcript": "Guten Tag."})
    assert facts_of(row, prosody).told == {"statement": "Guten Tag."} and facts_of(row, prosody).alone
    assert facts_of(row, replace(prosody, cut=True)).told == {}
    rain = Media(kind="audio", source="rain.wav")
    mixed = {snr: Media(kind="audio", source=Mix(voice=voice, background=rain, snr_db=snr)) for snr in (-3.0, 12.0)}
    told = {snr: facts_of(replace(row, media=(m,), labels={**labels, "voice_emotion": "sad"}), prosody) for snr, m in mixed.items()}
    assert set(told[-3.0].thirds) == {"pitch_hz"} and set(told[12.0].thirds) == {"level_db", "pitch_hz"} and not told[12.0].alone
    film = facts_of(Example(id="f", media=(Media(kind="video", source="a.mp4"),), labels={"emotion": "sad"}))
    assert (film.picture, film.sound, film.face, film.voice, film.emotion) == (True, True, "sad", "sad", "sad")


def test_faces_with_a_voice_are_asked_about_emotions_alone_and_some_come_as_two_clips(data):
    _, processor = chat_model()
    mixture = Mixture(data / "mix.yaml", data=data, count=400)
    talks = RealTalks(mixture, processor, GRAMMAR, count=400, options={"template": 1.0, "long": 1.0, "limit": 20_000})
    parts = {i: talks.row_of(i) for i in range(400)}
    together = [i for i, (part, _, _) in parts.items() if part == "together"]
    two = [i for i in together if len(parts[i][2]) == 2]
    assert 0 < len(two) < len(together) / 3 and all([m.kind for m in parts[i][2]] == ["image", "audio"] for i in two)
    assert set(talks.media(two)) == {m for i in two for m in parts[i][2]}
    row = talks[two[0]]
    assert len(row.row.media) == 2
    for i in together[:12]:
        text = processor.tokenizer.decode([t for t in talks[i].row.ids if t < 256])
        assert "rain," not in text and "dog bark," not in text, text


def test_a_clip_is_described_by_what_is_known_of_it():
    told = {"gender": "female", "language": "german", "background": "dog bark", "statement": "Guten Tag."}
    both = Facts(picture=True, sound=True, face="fear", voice="boredom", has_voice=True, told=told)
    assert caption_of(both) == (
        'The face is afraid. A woman speaks German. The voice is bored. The words are "Guten Tag". There is a dog bark in the background.'
    )
    assert caption_of(both.without(("audio",))) == "The face is afraid. There is no sound."
    assert caption_of(Facts(picture=False, sound=True, has_voice=False, told={"sound": "rain"})) == "There is rain. There is no picture."
    assert caption_of(Facts(picture=False, sound=True, has_voice=True, told={"digit": "six"})) == (
        'Somebody speaks. The words are "six". There is no picture.'
    )


def test_a_description_is_judged_and_a_wrong_one_differs_in_one_thing():
    told = {"gender": "female", "background": "dog bark", "digit": "six"}
    both = Facts(picture=True, sound=True, face="fear", voice="boredom", has_voice=True, told=told)
    captions = {caption_of(altered(both, random.Random(i), ("dog bark", "rain"))) for i in range(200)}
    sentences = caption_of(both).split(". ")
    assert all(sum(a != b for a, b in zip(c.split(". "), sentences, strict=True)) == 1 for c in captions) and len(captions) > 15
    assert {k for k in range(len(sentences)) if any(c.split(". ")[k] != sentences[k] for c in captions)} == set(range(len(sentences)))
    assert altered(Facts(picture=True, sound=False), random.Random(0)) is None


def test_a_voice_is_measured_as_it_is_heard(data):
    row = next(r for r in Mixture(data / "mix.yaml", data=data).parts["voices"])
    plain, fast = (measured_prosody(row, take) for take in (Take(), Take(speed=1.25)))
    assert fast.pitch_hz == pytest.approx(1.25 * plain.pitch_hz, rel=0.03)
    assert measured_prosody(row, Take(gain_db=-6.0)).level_db == pytest.approx(plain.level_db - 6.0, abs=0.2)


def test_evidence_is_what_was_measured():
    prosody = Prosody(level_db=-20.0, pitch_hz=110.0, rate_hz=4.0, brightness_hz=500.0, start_s=0.42, end_s=1.98)
    thirds, told = {"level_db": "high", "pitch_hz": "low", "rate_hz": "middle"}, {"statement": "Guten Tag."}
    facts = Facts(picture=True, sound=True, face="sad", voice="sad", has_voice=True, thirds=thirds, told=told)
    assert evidence_of(facts, prosody, 3.04) == [
        {"stream": "picture", "start_s": 0.0, "end_s": 3.0, "text": "sad face"},
        {"stream": "sound", "start_s": 0.4, "end_s": 2.0, "text": "loud, low voice"},
        {"stream": "words", "start_s": 0.4, "end_s": 2.0, "text": '"Guten Tag." (neutral)'},
    ]
    assert [e["stream"] for e in evidence_of(facts.without(("audio",)), prosody, 3.0)] == ["picture"]
    assert evidence_of(Facts(picture=False, sound=True, voice="sad"), None, 2.0)[0]["text"] == "even voice"


def test_articles():
    assert [with_article(s) for s in ("dog bark", "rain", "sea waves", "alarm")] == ["a dog bark", "rain", "sea waves", "an alarm"]


def test_rows_of_a_mixture(data):
    _, processor = chat_model()
    mixture = Mixture(data / "mix.yaml", data=data)
    talks = RealTalks(mixture, processor, GRAMMAR, count=60, options={"limit": 20_000})
    assert talks.sounds == ("dog bark", "rain")
    parts = {talks.row_of(i)[0] for i in range(60)}
    assert parts == {"voices", "digits", "sounds", "faces", "together", "lines"}
    views = {repr(m) for m in talks.media(range(60))}
    texts = [processor.tokenizer.decode([t for t in talks[i].row.ids if t < 256]) for i in range(60) if talks.row_of(i)[0] == "voices"]
    assert any("Emotion: " in t and "Sound 0.0-0.5 s: loud" in t for t in texts)
    assert any("background=Media" in v and "still=None" in v for v in views) and any(
        "still=Media" in v and "voice=None" in v for v in views
    )
    for i in range(60):
        row, part = talks[i], talks.row_of(i)[0]
        text = processor.tokenizer.decode([t for t in row.row.ids if t < 256])
        assert bool(row.row.media) == (part != "lines") and max(row.turns) >= (10 if part == "lines" else 3)
        assert talks[i].row.ids == row.row.ids
        if part == "lines":
            assert "Great!" in text and ("happy" in text or "sad" in text)
        if part == "digits":
            assert "seven" in text
    with pytest.raises(IndexError):
        talks[60]


def test_recordings_are_heard_in_several_takes_and_a_voice_keeps_its_level_and_speed(data):
    _, processor = chat_model()
    mixture = Mixture(data / "mix.yaml", data=data)
    talks = RealTalks(mixture, processor, GRAMMAR, count=600, options={"limit": 20_000})
    seen = {part: set() for part in ("voices", "digits", "sounds")}
    together = {}
    for i in range(600):
        part, row, media = talks.row_of(i)
        if part == "together" and len(media) == 1:
            together.setdefault(row.id, set()).add(media[0].source.take)
        if part in seen:
            assert len(media) == 1 and media[0].kind == "audio"
            seen[part] |= {(row.id, media[0])}
    for part, views in seen.items():
        mixes = [m.source for _, m in views if isinstance(m.source, Mix)]
        assert len(mixes) >= 4 and len(views) <= TAKES * len({i for i, _ in views}), part
        assert all((m.take.speed == 1.0 and m.take.gain_db == 0.0) == (part == "voices") for m in mixes)
        assert part == "voices" or min(m.take.gain_db for m in mixes) < -12.0, "some are much softer than they were recorded"
        assert part == "digits" or any(m.background for m in mixes) == (part == "voices")
    assert max(map(len, together.values())) <= 2 and any(take != Take() for takes in together.values() for take in takes)
    digit = next(m for _, m in seen["digits"] if isinstance(m.source, Mix))
    opened = processor.opener.open(digit)
    assert opened.duration_s == pytest.approx(processor.opener.open(digit.source.voice).duration_s / digit.source.take.speed, abs=0.01)


def test_conversations_of_a_mixture_are_told_as_they_are(tmp_path):
    """What `data instruct` writes is trained on by the recipe `instruct` as a part of its mixture."""
    clip = {"type": "video", "path": "clip-world://0/2?split=train&size=112&duration=2", "mute": ["video"]}
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [clip, {"type": "text", "text": "Which colour?"}]},
             {"role": "assistant", "content": "there is no picture in this clip."}]  # fmt: skip
    rows = [
        {"id": "a", "messages": asked},
        {"id": "b", "messages": [{"role": "user", "content": "2?"}, {"role": "assistant", "content": "two"}]},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mixture = Mixture(tmp_path / "m.yaml", written={"talks": {"dataset": "messages", "path": "rows.jsonl"}})
    model, processor = chat_model()
    talks = RealTalks(mixture, processor, GRAMMAR, count=2, options={"limit": 900})
    assert [m.mute for m in talks.media(range(2))] == [("video",)]
    shown = {row.row.id: row for row in (talks[0], talks[1])}
    learnt = {
        name: processor.decode([i for i, label in zip(r.row.ids, r.row.labels, strict=True) if label != -100]) for name, r in shown.items()
    }
    assert learnt == {"a": "there is no picture in this clip.<|end|>", "b": "two<|end|>"}
    assert "no video. " in (read := processor.decode(shown["a"].row.ids)) and "Be brief.\nWhich colour?" in read
    with torch.no_grad():
        assert model(**collate_turns(processor, list(shown.values()))).loss > 0


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([("user", ["Look:", "clip"]), ("assistant", ["a"])], "a clip stands behind a text"),
        ([("user", ["A?"])], "wanted questions with one answer each"),
        ([("user", ["clip", "A?"]), ("assistant", ["a"]), ("user", ["clip", "B?"]), ("assistant", ["b"])], "a clip stands behind"),
    ],
)
def test_conversations_that_do_not_fit_behind_one_prefix_are_refused(messages, found):
    clip = Media(kind="audio", source="a.wav")
    turns = tuple(
        Message(role=r, parts=tuple(clip if p == "clip" else p for p in parts), supervised=r == "assistant") for r, parts in messages
    )
    with pytest.raises(DatasetError, match=found):
        told_turns(Conversation(messages=turns, id="x"))


def test_lines_are_asked_for_their_emotion_answered_or_gone_on_with(data):
    _, processor = chat_model()
    talks = RealTalks(Mixture(data / "mix.yaml", data=data), processor, GRAMMAR, count=1)
    line = Example(id="l", texts={"transcript": "We were on a break!"}, labels={"emotion": "angry"})
    turns = [talks._line(line, random.Random(i)) for i in range(200)]
    asked = [q for q, a in turns if a == "angry"]
    assert 120 < len(asked) < 180 and all("We were on a break!" in q for q in asked)
    assert all(f"{q} {a}".endswith("We were on a break!") for q, a in turns if q not in asked)
    pair = Example(id="p", texts={"question": "is it red", "answer": "yes"})
    assert talks._line(pair, random.Random(0)) == ("is it red", "yes")
    short = [talks._line(Example(id="s", texts={"caption": "Rain"}), random.Random(i)) for i in range(20)]
    assert {a for _, a in short} == {"Rain", "."}
    assert {"Oh no!", "happy", "rain", "seven"} <= set(texts_of(talks.mixture, GRAMMAR))


def test_a_blend_takes_a_share_of_the_other():
    blend = Blend(list(range(1000)), [-1] * 1000, share=0.3, seed=1)
    other = sum(blend[i] == -1 for i in range(1000))
    assert 250 < other < 350 and all((blend[i] == -1) == blend.is_second(i) for i in range(1000)) and len(blend) == 1000


def test_words_that_are_said_are_asked_for_and_one_that_is_not():
    grammar = Grammar(share.folder("train") / "questions" / "people.yaml")
    spoken = Facts(picture=False, sound=True, voice="sad", has_voice=True, told={"statement": "Dogs are sitting by the door."})
    digit = Facts(picture=False, sound=True, has_voice=True, told={"digit": "seven"})
    for seed in range(20):
        found = _of_words(spoken, random.Random(seed))
        told = {answer: slots.get("thing") for family, answer, slots in found if family == "word_said"}
        assert told["yes"] in ("dogs", "are", "sitting", "by", "the", "door") and told["no"] in set(SPOKEN) - {"dogs", "sitting", "door"}
        assert ("subject", "dogs", {}) in found
        told = {answer: slots["thing"] for _, answer, slots in _of_words(digit, random.Random(seed))}
        assert told["yes"] == "seven" and told["no"] in set(DIGITS) - {"seven"}
        turns = turns_of(spoken, grammar, random.Random(seed))
        assert "dogs" in [a for _, a in turns] and not any("<" in q for q, _ in turns)
    assert _of_words(Facts(picture=True, sound=False, face="sad"), random.Random(0)) == []
