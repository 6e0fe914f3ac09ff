"""Free questions: which rows they are asked of, and what counts as right."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.people import write_people
from tests.toys import chat_model
from unifusion import share
from unifusion.datasets.mixture import Mixture
from unifusion.engine import Engine
from unifusion.errors import DatasetError
from unifusion.evaluation.free import ANSWERS, evaluate_free, free_table, read_free, right
from unifusion.training.facts import DIGITS, NOUNS, SPOKEN, with_article
from unifusion.training.grammar import Grammar
from unifusion.world.captions import adjective
from unifusion.world.script import SHAPES
from unifusion.world.script import SOUNDS as KINDS
from unifusion.world.world_file import phrasings

SHIPPED = Path(__file__).parents[1] / "data" / "free_questions.jsonl"
EMOTIONS = ("neutral", "happy", "sad", "angry")
SOUNDS = ("rain", "dog bark", "baby cry")


def pattern(line, slots=None):
    """All readings of a line of training questions; a gap is one of its fillings, or anything, caught by a group."""
    parts = re.findall(r"<\w+>|\{\{.*?\}\}|\{\w+\}|[{}|]|\w+|\W", line.lower())
    told = []
    for part in parts:
        if part[0] == "<":
            told.append(f"(?:{'|'.join(map(re.escape, slots[part[1:-1]]))})")
        elif re.fullmatch(r"\{\{.*\}\}|\{\w+\}", part):
            told.append("(.+)")
        else:
            told.append({"{": "(?:", "}": ")", "|": "|"}.get(part, part if part.isalnum() else r"[\W_]*"))
    return re.compile("".join([r"[\W_]*", *told, r"[\W_]*"]))


def matched(question, patterns, words=()):
    """Whether a training question reads like this one; what stands in a gap must end in one of the words, where some are given."""
    found = [m for form in patterns if (m := form.fullmatch(question.lower()))]
    return any(not words or all({*re.findall(r"\w+", gap)[-1:]} <= {*words} for gap in m.groups()) for m in found)


def test_no_template_has_the_words_of_a_shipped_question():
    slots = {"e": [adjective(e) for e in NOUNS], "n": list(NOUNS.values()), "thing": [*map(with_article, SOUNDS), *SPOKEN, *DIGITS]}
    grammar = Grammar(share.folder("train") / "questions" / "people.yaml")
    real = [pattern(re.sub(r"\{([^{}|]*)\}", r"\1", line), slots) for lines in grammar.families.values() for line in lines]
    around = [pattern(line.replace("<q>", "{question}")) for line in grammar.around]
    any_question = ("open_qa", "cited_qa", "instruction")  # what theirs are about
    files = [f for f in share.folder("prompts").glob("*.yaml") if f.stem not in any_question]
    prompts = [yaml.safe_load(f.read_text(encoding="utf-8")) for f in files]
    told = [pattern(line) for p in prompts for line in (*p["phrasings"], *p.get("held_out_phrasings", ()))]
    families = [v for v in phrasings().values() if isinstance(v, dict)]
    world = [pattern(line) for v in families for f in v.values() if isinstance(f, dict) for lines in f.values() for line in lines]
    words = {w for name in (*SHAPES, *KINDS, *EMOTIONS) for w in name.split()}
    assert any(form.fullmatch("please tell me: who is it?") for form in around)
    assert matched("What emotion do you hear in this voice?", real) and matched("can you hear HAPPINESS", real)
    assert matched("Is there a red circle?", world, words) and not matched("Is there a quarrel?", world, words)
    assert matched("Label the emotion. Labels: happy, sad. Reply with the label only.", told)
    asked = [q.text for q in read_free(SHIPPED)]
    asked += [inner for text in asked for form in around if (found := form.fullmatch(text.lower())) for inner in found.groups()]
    assert [q for q in asked if matched(q, real) or matched(q, told) or matched(q, world, words)] == []


@pytest.mark.parametrize(
    ("answer", "truth", "choices", "good"),
    [
        ("angry", "angry", EMOTIONS, True),
        ("The person is furious.", "angry", EMOTIONS, True),
        ("happy or sad", "sad", EMOTIONS, False),
        ("blue", "sad", EMOTIONS, False),
        ("It is a dog bark.", "dog bark", SOUNDS, True),
        ("rain", "dog bark", SOUNDS, False),
        ("There is no sound in this clip.", "no sound", ("no sound",), True),
        ("there is no picture in this clip.", "no sound", ("no sound",), False),
        ("a woman", "woman", ("man", "woman"), True),
        ("a woman", "man", ("man", "woman"), False),
        ("It is spoken quietly and quiet", "soft", ("soft", "normal", "loud"), True),
        ("unpleasant", "pleasant", ("pleasant", "neither", "unpleasant"), False),
        ("Kids are talking by the door.", "kids", ("kids", "dogs"), True),
        ("It is a man or a woman.", "woman", ("man", "woman"), False),
        ("pleasant or unpleasant", "unpleasant", ("pleasant", "neither", "unpleasant"), False),
        ("no sound at all, but a sound", "no sound", ("no sound", "sound"), False),
        ("yes and no", "yes", ("yes", "no"), False),
        ("", "yes", ("yes", "no"), False),
    ],
)
def test_what_is_right(answer, truth, choices, good):
    assert right(answer, truth, choices) is good


def test_the_shipped_questions_are_twenty_families_of_ten():
    found = read_free(SHIPPED)
    families = {f: [q for q in found if q.family == f] for f in {q.family for q in found}}
    assert len(found) == 200 and len(families) == 20 and all(len(v) == 10 for v in families.values())
    assert {q.answer for q in found} <= set(ANSWERS)


def test_each_is_asked_of_rows_it_fits(tmp_path):
    data = write_people(tmp_path)
    asked = tmp_path / "free.jsonl"
    rows = [
        {"id": "v/0", "family": "v", "set": "emodb", "answer": "emotion", "question": "How does she sound?"},
        {"id": "l/0", "family": "l", "set": "meld", "answer": "emotion", "question": "Mood of: {line}"},
        {"id": "a/0", "family": "a", "set": "elsewhere, composed", "answer": "agreement", "question": "Same mood?"},
        {"id": "q/0", "family": "q", "set": "emodb", "answer": "loudness", "question": "Loud?"},
        {"id": "n/0", "family": "n", "set": "elsewhere", "answer": "emotion", "question": "?"},
    ]
    asked.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    mixture = Mixture(data / "mix.yaml", data=data)
    told = evaluate_free(Engine(*chat_model()), read_free(asked), mixture, per_question=2)
    assert told["n"] == len(told["predictions"]) == 8 and set(told["families"]) == {"v", "l", "a", "q"}
    by = {f: [r for r in told["predictions"] if r["family"] == f] for f in told["families"]}
    assert {r["truth"] for r in by["v"]} <= {"happy", "angry", "neutral"} and len({r["truth"] for r in by["v"]}) == 2
    assert {r["truth"] for r in by["l"]} == {"happy", "sad"} and {r["truth"] for r in by["a"]} == {"yes", "no"}
    assert {r["truth"] for r in by["q"]} == {"loud"}
    assert told["accuracy"] == sum(r["right"] for r in told["predictions"]) / 8 and told["low"] <= told["accuracy"] <= told["high"]
    assert told["unclear"] == sum(not r["clear"] for r in told["predictions"]) and set(told["constant"]) == set(told["families"])
    table = free_table(told)
    assert told["unasked"] == ["n/0"] and "1 questions fit no row and were not asked: n/0." in table
    assert table.startswith("8 questions") and all(f"| {f} |" in table for f in told["families"]) and "Some mistakes" in table
    asked.write_text(json.dumps({**rows[0], "answer": "colour"}), encoding="utf-8")
    with pytest.raises(DatasetError, match="line 1: answer 'colour'"):
        read_free(asked)


def test_questions_that_fit_no_row_are_refused(tmp_path):
    data = write_people(tmp_path)
    with pytest.raises(DatasetError, match="no free question fits"):
        evaluate_free(Engine(*chat_model()), [], Mixture(data / "mix.yaml", data=data))
