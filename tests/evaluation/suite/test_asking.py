"""What is asked of a system, in which order, what a record holds, and that a run goes on where it stopped."""

import json

import pytest

from tests.evaluation.suite.doubles import KINDS, Rule, listener, part, row
from unifusion.conversation import Example, Media, Message
from unifusion.errors import MediaError, UniFusionError
from unifusion.evaluation.outfile import OutFile
from unifusion.evaluation.suite.asking import ask_part, first_scoring, rotated
from unifusion.evaluation.suite.conditions import CONDITIONS
from unifusion.evaluation.suite.running import SuiteRun
from unifusion.tasks.multiple_choice import MultipleChoice
from unifusion.tasks.which_of import WhichOf

RUN = SuiteRun(suite="toy", model="m", weights="w", seed=0)
ROWS = [row(i, KINDS[i % 3]) for i in range(7)]


def asked(system, part, folder, conditions=("all", "blind"), batch_size=3):
    path = folder / "predictions.jsonl"
    with OutFile.open(path, RUN) as sink:
        ask_part(system, part, sink, conditions, batch_size=batch_size)
    return [json.loads(line) for line in path.read_text().splitlines()]


def options(number, right, count=3):
    media = ROWS[number].media
    texts = {"question": "What is it?"}
    return Example(
        id=f"o{number}", media=media, texts=texts, labels={"options": ("bark", "bell", "rain")[:count], "option": right}, group=f"g{number}"
    )


def test_a_closed_part_is_scored_and_said(tmp_path):
    found = asked(Rule(listener), part(ROWS), tmp_path)
    kinds = {(r["condition"], r["scoring"]) for r in found}
    assert kinds == {("all", "likelihood"), ("all", "generation"), ("blind", "likelihood")}
    assert len(found) == 21 and all(r["score"] == 1.0 for r in found if r["condition"] == "all")
    one = next(r for r in found if r["row"] == "r1" and r["scoring"] == "likelihood" and r["condition"] == "all")
    assert one["answer"] == one["parsed"] == one["truth"] == "bell" and one["prompt"].startswith("[video]") and one["group"] == "g1"
    assert sum(one["probabilities"].values()) == pytest.approx(1.0, abs=1e-4) and one["report"]["streams"]["audio"]["present"]
    blind = [r for r in found if r["condition"] == "blind"]
    assert not any(r["report"]["streams"]["audio"]["present"] for r in blind) and all("[video]" not in r["prompt"] for r in blind)


def test_of_a_talk_the_earlier_turns_stay_beside_the_words(tmp_path):
    said = Media(kind="video", source=ROWS[0].media[0].source, transcript="hello there")
    turns = (
        Message(role="user", parts=(said, "Who is it?")), Message(role="assistant", parts=("A girl.",)),
        Message(role="user", parts=("What does she say?",)),
    )  # fmt: skip
    talk = Example(id="t", media=(said,), texts={"question": "What does she say?", "answer": "hello"}, labels={"turns": turns})
    system = Rule(listener)
    asked(system, part([talk], task="instruction"), tmp_path, ("text",))
    assert [m.text for m in system.asked[-1].messages][:2] == ["Who is it?", "A girl."] and not system.asked[-1].media
    assert "hello there" in system.asked[-1].messages[-1].text


def test_who_cannot_score_is_asked_in_words_alone(tmp_path):
    system = Rule(listener, can_score=False)
    found = asked(system, part(ROWS), tmp_path)
    assert {r["scoring"] for r in found} == {"generation"} and first_scoring(part(ROWS), can_score=False) == "generation"


def test_a_run_that_was_cut_short_anywhere_goes_on_to_the_same_bytes(tmp_path):
    rows = [row(0, "bark", picture=False), row(1, "bell"), row(2, "rain", sound=False), row(3, "bark"), row(4, "bell")]
    whole = asked(Rule(listener), part(rows), tmp_path, CONDITIONS)
    path = tmp_path / "predictions.jsonl"
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    for cut in range(len(lines)):
        path.write_bytes(b"".join(lines[:cut]) + lines[cut][:20])
        assert asked(Rule(listener), part(rows), tmp_path, CONDITIONS) == whole and path.read_bytes() == content


def test_a_run_that_was_cut_short_goes_on(tmp_path):
    whole = asked(Rule(listener), part(ROWS), tmp_path)
    path = tmp_path / "predictions.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:8]) + lines[8][:20])
    again = Rule(listener)
    assert asked(again, part(ROWS), tmp_path) == whole
    assert len(again.asked) == len(lines) - 8
    third = Rule(listener)
    asked(third, part(ROWS), tmp_path)
    assert third.asked == []


def test_batches_do_not_change_what_is_said(tmp_path):
    one, many = ({r["id"]: r for r in asked(Rule(listener), part(ROWS), tmp_path / str(n), batch_size=n)} for n in (1, 5))
    assert one == many


def test_clips_of_like_length_are_asked_together(tmp_path):
    rows = [row(i, "bark", seconds=s) for i, s in enumerate((3.0, 1.0, 2.0, 1.0))]
    found = asked(Rule(listener), part(rows), tmp_path, conditions=("all",), batch_size=2)
    order = list(dict.fromkeys(r["row"] for r in found))
    assert order == ["r1", "r3", "r2", "r0"]


def test_clips_are_forgotten_batch_by_batch(tmp_path):
    system = Rule(listener)
    asked(system, part(ROWS), tmp_path, batch_size=2)
    assert system.forgot == 4


def test_a_clip_that_fails_is_an_error_of_its_own(tmp_path):
    def rule(conversation):
        if conversation.id == "r2" and conversation.media:
            raise MediaError("r2 is broken;", remedy="mend it.")
        return listener(conversation)

    found = asked(Rule(rule), part(ROWS), tmp_path)
    bad = [r for r in found if "error" in r]
    assert {(r["row"], r["condition"]) for r in bad} == {("r2", "all")} and bad[0]["error_kind"] == "MediaError"
    assert all("score" not in r for r in bad) and sum("score" in r for r in found) == 19


@pytest.mark.parametrize(("kind", "key"), [(MultipleChoice, "options"), (WhichOf, "texts")])
def test_turned_options_keep_the_right_one(kind, key):
    example = Example(id="x", labels={key: ("a", "b", "c", "d"), "option": 2}, texts={"question": "?"})
    turns = rotated(kind(), example)
    assert [t.labels[key] for t in turns] == [tuple("abcd"), tuple("bcda"), tuple("cdab"), tuple("dabc")]
    assert all(t.labels[key][t.labels["option"]] == "c" for t in turns)


def test_who_always_says_the_first_letter_is_right_once_in_all_turns(tmp_path):
    found = asked(Rule(lambda c: "A"), part([options(i, i % 3) for i in range(6)], task="multiple_choice"), tmp_path, conditions=("all",))
    turned = [r for r in found if r["scoring"] == "rotated"]
    assert len(turned) == 6 and all(r["score"] == pytest.approx(1 / 3) for r in turned)
    assert turned[0]["answer"] == ["A", "A", "A"] and [t["parsed"] for t in turned[0]["turns"]] == ["A", "B", "C"]


def test_who_knows_is_right_at_every_turn_and_means_one_option(tmp_path):
    rows = [options(i, i % 3) for i in range(6)]

    def knows(conversation):
        right = rows[int(conversation.id[1:])].labels["option"]
        text = ("bark", "bell", "rain")[right]
        return next(line[0] for line in conversation.messages[-1].text.splitlines() if text in line)

    turned = [r for r in asked(Rule(knows), part(rows, task="multiple_choice"), tmp_path, conditions=("all",)) if r["scoring"] == "rotated"]
    assert all(r["score"] == 1.0 and len({t["parsed"] for t in r["turns"]}) == 1 for r in turned)


def test_the_tasks_own_words_are_asked(tmp_path):
    rows = [Example(id="q", media=ROWS[0].media, labels={"sound": "bark"}, texts={"question": "Which of A: bark or B: bell?"}, group="g")]
    found = asked(Rule(listener), part([*rows, ROWS[1]]), tmp_path, conditions=("all",))
    assert all("Which of A" not in r["prompt"] for r in found)


def test_a_row_that_has_changed_is_not_taken_for_the_old_one(tmp_path):
    from unifusion.errors import ConfigError

    asked(Rule(listener), part(ROWS), tmp_path)
    other = [Example(id=r.id, media=(Media(kind="audio", source=r.media[0].source),), labels=r.labels, group=r.group) for r in ROWS]
    with pytest.raises(ConfigError, match="another row"):
        asked(Rule(listener), part(other), tmp_path)


def test_a_row_whose_truth_has_changed_is_refused(tmp_path):
    asked(Rule(listener), part(ROWS), tmp_path)
    with pytest.raises(UniFusionError, match="r5"):
        asked(Rule(listener), part([*ROWS[:5], *(row(i, KINDS[(i + 1) % 3]) for i in (5, 6))]), tmp_path)
