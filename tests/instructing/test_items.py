"""Wrong texts, places of right ones, refusals and balance: exact, drawn by seed and row, and never at odds with the clip."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.instructing.sets import caption, captioned, there, world
from unifusion.conversation import Example
from unifusion.instructing.items import NEAR, Item, balanced, items_of, refused
from unifusion.instructing.phrasing import conversation_of, phrasings
from unifusion.metrics.token_f1 import token_f1
from unifusion.prompts import load_template
from unifusion.world.world_file import phrasings as world_phrasings

MISSING = world_phrasings()["missing"]


def make(rows, tasks=(), seed=0, **options):
    left = Counter()
    return items_of("part", rows, there(rows), tasks=tasks, seed=seed, left_out=left, **options), left


def test_half_of_the_texts_are_of_other_clips():
    rows = captioned(41)
    items, left = make(rows, ["match"])
    assert Counter(i.kind for i in items) == {"asked": 21, "negative": 20} and not left
    for item in items:
        text, own = item.row.texts["text"], item.row.texts["caption"]
        assert (text == own) == item.row.labels["match"] == (item.label == "yes") == (item.kind == "asked")
        assert text == own or (token_f1(text, own) < NEAR and text in {r.texts["caption"] for r in rows if r.group != item.row.group})
    again, other = make(rows, ["match"])[0], make(rows, ["match"], seed=1)[0]
    assert again == items != other
    assert Counter(i.kind for i in make(rows[:-1], ["match"])[0]) == {"asked": 20, "negative": 20}


def test_texts_and_truths_of_a_rows_own_are_kept():
    rows = [
        Example(id=f"r{n}", media=(world(n),), texts={"text": "Rain.", "caption": caption(n)}, labels={"match": n == 0}) for n in range(2)
    ]
    items, _ = make(rows, ["match"])
    assert [(i.kind, i.label, i.row.texts["text"]) for i in items] == [("asked", "yes", "Rain."), ("negative", "no", "Rain.")]


def test_the_right_text_stands_at_each_place_equally_often():
    items, _ = make(captioned(42), ["which_of"])
    assert sorted(Counter(i.row.labels["option"] for i in items).values()) == [10, 10, 11, 11]
    for item in items:
        options = item.row.labels["texts"]
        assert (
            len(set(options)) == 4
            and options[item.row.labels["option"]] == item.row.texts["caption"]
            and item.label == "ABCD"[item.row.labels["option"]]
        )
        assert conversation_of(item, 0).messages[-1].text == item.label


def test_texts_are_of_other_groups_and_never_nearly_the_same():
    same_group = [replace(r, group="one") for r in captioned(10)]
    near = [replace(r, texts={"caption": f"The loud sound of rain number {n}"}) for n, r in enumerate(captioned(10))]
    alike = [replace(r, labels={"sound": "rain"}) for r in captioned(10)]
    for rows in (same_group, near, alike):
        items, left = make(rows, ["match", "which_of"])
        assert not items and left == {"match: no text of another group": 10, "which_of: too few texts of other groups": 10}


def test_a_clip_is_asked_once_what_is_the_same_for_all_its_rows():
    rows = [Example(id=f"q{n}", media=(world(1),), texts={"question": f"Q{n}?", "answer": "a", "caption": "Rain."}) for n in range(4)]
    items, _ = make(rows, ["open_qa", "caption"])
    assert Counter(i.task for i in items) == {"open_qa": 4, "caption": 1} and [i.row.id for i in items] == ["q0", "q0", "q1", "q2", "q3"]


def test_rows_that_a_task_cannot_ask_are_counted():
    rows = [Example(id=f"r{n}", media=(world(1),), labels={"valence": v, "arousal": 0}) for n, v in enumerate((0.5, "much"))]
    rows = [replace(r, media=(world(n),)) for n, r in enumerate(rows)]
    rows.append(Example(id="r2", media=(world(2),), texts={"event": "a bell"}, labels={"span": [3, 1]}))
    items, left = make(rows)
    assert [i.row.id for i in items] == ["r0"] and left == {"valence_arousal: DatasetError": 1, "when: DatasetError": 1}


def test_reasons_are_the_answer_where_there_is_no_evidence():
    row = Example(id="r", media=(world(1),), labels={"emotion": "joy"}, texts={"rationale": " She smiles. "})
    item = next(i for i in make([row])[0] if i.task == "emotion_rationale")
    assert conversation_of(item, 0).messages[-1].text == "Emotion: happy.\nShe smiles."


def test_conversations_of_rows_are_told_unless_other_tasks_are_wanted():
    told = [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "b"}]
    rows = [Example(id="t", labels={"messages": told})]
    assert [i.kind for i in make(rows)[0]] == ["told"] == [i.kind for i in make(rows, ["told", "match"])[0]]
    assert make(rows, ["match"])[0] == [] and conversation_of(make(rows)[0][0], None).messages[-1].text == "b"


# Refusals


def sounds(count=40, kinds=("rain", "bell")):
    return [Example(id=f"s{n}", media=(world(n),), labels={"sound": kinds[n % len(kinds)]}, group=f"g{n}") for n in range(count)]


def test_a_clip_without_the_stream_is_refused_whatever_its_label_says():
    rows = sounds()
    items, left = make(rows, ["sound"])
    silent = [i for i in items if "audio" not in there(rows)[i.row.media]]
    assert silent and left == {"sound: refused, the clip has no audio": len(silent)}
    for item in items:
        talk = conversation_of(item, 0)
        assert (item.kind == "refusal") == (item in silent) == (talk.messages[-1].text == MISSING["sound"]) and item.mute == ()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 1.0])
def test_the_share_that_is_muted_is_exact_and_of_each_label(share):
    rows = [r for r in sounds(80) if "audio" in there([r])[r.media]]
    items, _ = make(rows, ["sound"])
    out = refused(items, there(rows), share=share, seed=0, tasks=["sound"])
    muted = [i for i in out if i.mute]
    assert len(out) == len(items) and len(muted) == round(share * len(items))
    counts = Counter(i.row.labels["sound"] for i in muted)
    assert abs(counts["rain"] - counts["bell"]) <= 2
    for item in muted:
        talk = conversation_of(item, 1)
        assert talk.media[0].mute == item.mute == ("audio",) and talk.messages[-1].text == MISSING["sound"] and talk.messages[-1].supervised
    assert refused(items, there(rows), share=share, seed=0, tasks=["sound"]) == out


def test_what_is_muted_is_what_the_question_needs():
    needs = {"q0": ("video",), "q1": ("audio",), "q2": ("video", "audio"), "q3": None}
    rows = []
    for n in (n for n in range(200) if there([Example(id="", media=(world(n),))])[(world(n),)] == {"video", "audio"}):
        name = f"q{n % 4}"
        labels = {"stream_needs": needs[name], "needs": "both"} if needs[name] else {}
        media = (world(n, transcript="hello"),)
        rows.append(Example(id=f"{name}/{n}", media=media, texts={"question": "Q?", "answer": "a"}, labels=labels))
    items, _ = make(rows)
    out = refused(items, there(rows), share=1.0, seed=0, tasks=["open_qa"])
    mutes = {name: {i.mute for i in out if i.row.id.startswith(name)} for name in needs}
    assert mutes == {"q0": {("video", "image")}, "q1": {("audio", "text")}, "q2": {("video", "image"), ("audio", "text")}, "q3": {()}}
    answers = {i.mute: conversation_of(i, 0).messages[-1].text for i in out}
    assert answers[("audio", "text")] == MISSING["sound"] and answers[("video", "image")] == MISSING["picture"] and answers[()] == "a"


def test_silent_clips_are_asked_for_sounds_too():
    rows = captioned(60)
    silent = {r.id for r in rows if there([r])[r.media] == {"video"}}
    items, _ = make(rows, ["caption"])
    out = refused(items, there(rows), share=0.5, seed=0)
    added = [i for i in out if i.task == "sound"]
    assert len(added) == round(0.5 * len(silent)) > 0 and {i.row.id for i in added} <= silent
    talk = conversation_of(added[0], 0)
    assert talk.messages[-1].text == MISSING["sound"] and "ound" in talk.messages[0].text and talk.media[0].mute == ()
    assert not [i for i in refused(items, there(rows), share=0.5, seed=0, tasks=["caption"]) if i.task == "sound"]


# Balance


def test_labels_are_as_many_as_the_rarest():
    rows = [r for r in sounds(90, ("rain", "rain", "rain", "bell", "bark")) if "audio" in there([r])[r.media]]
    items, left = make(rows, ["sound"])
    least = min(Counter(i.label for i in items).values())
    kept = balanced(items, 0, left)
    assert Counter(i.label for i in kept) == dict.fromkeys(("rain", "bell", "bark"), least)
    assert left == {"sound: balanced": len(items) - 3 * least} and kept == [i for i in items if i in kept], "in their order"
    free, _ = make(captioned(12), ["caption", "match"])
    assert balanced(free, 0, Counter()) == free


@pytest.mark.parametrize("count", [1, 5, 6, 7, 41, 100])
def test_each_phrasing_is_used_equally_often_in_all_and_for_each_answer(count):
    rows = captioned(count + 30)
    items = [i for i in make(rows, ["match", "caption"])[0] if i.task == "match"][:count]
    items += [replace(i, part="other") for i in items[: count // 2]]
    numbers = phrasings(items, 0)
    phrased = len(load_template("match").source.phrasings)

    def spread(chosen):
        counts = Counter(n for n, i in zip(numbers, items, strict=True) if chosen(i))
        return max(counts.values()) - min(counts.get(k, 0) for k in range(phrased))

    assert spread(lambda i: True) <= 1
    for part in ("part", "other")[: 1 + (count > 1)]:
        for label in {i.label for i in items if i.part == part}:
            assert spread(lambda i, part=part, label=label: i.part == part and i.label == label) <= 1
    assert phrasings(items, 0) == numbers
    if count > 40:
        assert phrasings(items, 1) != numbers
    asked = [conversation_of(i, n).messages[-2].text for i, n in zip(items, numbers, strict=True)]
    assert all(conversation_of(items[0], n).messages[-2].text != asked[0] for n in range(phrased) if n != numbers[0])


def test_rows_of_their_own_words_have_no_phrasing():
    told = Item(part="p", row=Example(id="t", labels={"messages": []}), kind="told")
    assert phrasings([told], 0) == [None] and told.name == "t"
