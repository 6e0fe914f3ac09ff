"""A system that only listens and one that only looks are told apart; rationales cite what moved them, or do not."""

import json

import pytest

from tests.evaluation.suite.doubles import KINDS, Rule, kind_heard, kind_seen, listener, looker, part, row
from unifusion.conversation import Example
from unifusion.evaluation.outfile import OutFile
from unifusion.evaluation.suite.asking import ask_part
from unifusion.evaluation.suite.conditions import CONDITIONS
from unifusion.evaluation.suite.faithful import citation_figures, tampering_figures
from unifusion.evaluation.suite.running import SuiteRun

ROWS = [row(i, KINDS[i % 3]) for i in range(30)]


def told(system, some, folder, conditions=CONDITIONS):
    path = folder / "p.jsonl"
    with OutFile.open(path, SuiteRun(suite="s", model="m", weights="", seed=0)) as sink:
        ask_part(system, some, sink, conditions, batch_size=8)
    return [r for line in path.read_text().splitlines() if (r := json.loads(line))["scoring"] != "rotated"]


def first(records):
    return [r for r in records if r["scoring"] == "likelihood"]


def test_who_listens_follows_the_sound_and_stays_with_another_picture(tmp_path):
    found = tampering_figures(part(ROWS), first(told(Rule(listener), part(ROWS), tmp_path)))
    assert found["other sound"]["follows"] == 1.0 and found["other sound"]["stays"] == 0.0 and found["other sound"]["lost"] == 1.0
    assert found["other picture"]["follows"] == 0.0 and found["other picture"]["stays"] == 1.0 and found["other picture"]["lost"] == 0.0
    assert found["no picture"]["lost"] == 0.0 and found["shuffled"]["lost"] == 0.0 and found["other clip"]["follows"] == 1.0
    assert found["no sound"]["value"] == pytest.approx(1 / 3) and found["no sound"]["lost_share"] == pytest.approx(2 / 3, abs=1e-5)


def test_who_only_looks_is_found_out(tmp_path):
    found = tampering_figures(part(ROWS), first(told(Rule(looker), part(ROWS), tmp_path)))
    assert found["other sound"]["follows"] == 0.0 and found["other sound"]["lost"] == 0.0
    assert found["other picture"]["follows"] == 1.0 and found["other picture"]["lost"] == 1.0


def test_the_interval_is_of_pairs(tmp_path):
    def half(conversation):
        return listener(conversation) if int(conversation.id[1:]) % 2 else looker(conversation)

    found = tampering_figures(part(ROWS), first(told(Rule(half), part(ROWS), tmp_path)))["other sound"]
    assert found["lost"] == pytest.approx(0.5) and 0.2 < found["low"] < 0.5 < found["high"] < 0.8 and found["n"] == 30


def of_others(rows, answers, task):
    """What swapping costs where each row is lent the next one's sound."""
    lent = [rows[(i + 1) % len(rows)].id for i in range(len(rows))]
    some = part(rows, task=task)
    base = [{"row": r.id, "group": r.group, "truth": some.truth(r), "score": 1.0, "answer": some.truth(r)} for r in rows]
    records = [{**b, "condition": "all"} for b in base]
    for b, name, answer in zip(base, lent, answers, strict=True):
        score = some.task.score(answer, next(r for r in rows if r.id == b["row"])).value
        records.append({**b, "condition": "other sound", "lender": name, "answer": answer, "score": score})
    return tampering_figures(some, records)["other sound"]


def test_nobody_follows_the_answer_to_another_question():
    texts = [("Who sings?", "a girl"), ("Who sings?", "a boy"), ("How loud?", "very"), ("Who sings?", "nobody")]
    rows = [Example(id=f"q{i}", media=ROWS[0].media, texts={"question": q, "answer": a}, group=f"g{i}") for i, (q, a) in enumerate(texts)]
    found = of_others(rows, ["a boy", "very", "nobody", "a girl"], "open_qa")
    assert (found["n"], found["n_lent"], found["follows"]) == (4, 2, 1.0)  # of the first and the last row alone
    alike = [Example(id=r.id, media=r.media, texts=r.texts, labels={"family": "f"}, group=r.group) for r in rows]
    assert of_others(alike, ["a boy", "very", "nobody", "a girl"], "open_qa")["n_lent"] == 4


def test_a_letter_is_followed_by_what_it_stands_for():
    rows = [
        Example(id=f"q{i}", media=ROWS[0].media, texts={"question": "?"}, labels={"options": options, "option": right}, group=f"g{i}")
        for i, (options, right) in enumerate([(("x", "y", "z"), 0), (("y", "x", "z"), 0), (("y", "z", "x"), 0), (("v", "w", "u"), 1)])
    ]  # x, y, y, w: nothing is lent between the second and the third, and the third and the fourth have nothing in common
    found = of_others(rows, ["B", "A", "A", "A"], "multiple_choice")
    assert (found["n_lent"], found["follows"], found["stays"]) == (1, 1.0, 0.0)


def test_few_groups_have_an_interval_of_their_rows():
    mixed = [row(i, KINDS[i % 3], group="g") for i in range(30)]
    records = [
        {"row": r.id, "group": "g", "condition": c, "truth": "bark", "score": float(c == "all" or i % 2), "answer": "bark"}
        for i, r in enumerate(mixed) for c in ("all", "blind")
    ]  # fmt: skip
    lost = tampering_figures(part(mixed), records)["blind"]
    assert lost["low"] < lost["lost"] == 0.5 < lost["high"]


def test_rows_that_failed_are_in_no_pair():
    records = [
        {"row": "r0", "group": "g0", "condition": c, "scoring": "likelihood", "truth": "bark", "score": 1.0, "answer": "bark"}
        for c in ("all", "blind")
    ]
    bad = [{"row": "r1", "group": "g1", "condition": c, "scoring": "likelihood", "truth": "bell", "error": "x"} for c in ("all", "blind")]
    assert tampering_figures(part(ROWS), [*records, *bad])["blind"]["n"] == 1


def rationale(cite):
    """Labels by the sound; cites one stream."""
    names = {"bark": "happy", "bell": "sad", "rain": "angry"}

    def rule(conversation):
        kind = next((k for m in conversation.media if (k := kind_heard(m))), "bark")
        return f"Emotion: {names[kind]}.\n{cite} 0.1-0.5 s: something is there."

    return rule


FELT = {"bark": "happy", "bell": "sad", "rain": "angry"}
EVIDENCE = ({"stream": "sound", "start_s": 0.1, "end_s": 0.5, "text": "x"},)


@pytest.mark.parametrize(("cite", "agreement"), [("Sound", 1.0), ("Picture", 0.0)])
def test_citations_are_held_against_what_moved_the_label(tmp_path, cite, agreement):
    rows = [Example(id=r.id, media=r.media, labels={"emotion": FELT[r.labels["sound"]], "evidence": EVIDENCE}, group=r.group) for r in ROWS]
    some = part(rows, task="emotion_rationale", labels=("happy", "sad", "angry"))
    found = citation_figures(some, told(Rule(rationale(cite)), some, tmp_path))
    assert found["n"] == 30 and found["moved"] == {"sound": 30} and found["agreement"] == agreement
    assert found["by_chance"] == agreement  # all is moved by one stream, and one stream is cited: chance can do no other


def test_a_label_that_both_or_neither_moves_says_nothing(tmp_path):
    def both(conversation):
        same = all(kind_heard(m) == kind_seen(m) for m in conversation.media)
        return f"Emotion: {'happy' if same else 'sad'}.\nSound 0.1-0.5 s: x."

    rows = [Example(id=r.id, media=r.media, labels={"emotion": FELT[r.labels["sound"]], "evidence": EVIDENCE}, group=r.group) for r in ROWS]
    some = part(rows, task="emotion_rationale", labels=("happy", "sad", "angry"))
    found = citation_figures(some, told(Rule(both), some, tmp_path))
    assert found["n"] == 30 and found["agreement"] is None and found["moved"] == {}
