"""A language model as judge: what it is asked, how strictly it is read, what failures do, what is kept on disk."""

from __future__ import annotations

import json
import re
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.judges import judging, right_if_same
from unifusion.errors import ConfigError, DatasetError, PromptError
from unifusion.evaluation.judge import Judge, Judged, JudgedPair, figures, pair_figures
from unifusion.evaluation.judge_cache import VerdictCache, key_of
from unifusion.evaluation.judge_prompt import ANSWERS, PAIRS, Verdict, read_judge_prompt
from unifusion.wire import EndpointError, Wire

# As evaluate_activitynet_qa.py of Video-ChatGPT writes it, joined as Python joins it.
SYSTEM = (
    "You are an intelligent chatbot designed for evaluating the correctness of generative outputs for question-answer pairs. "
    "Your task is to compare the predicted answer with the correct answer and determine if they match meaningfully. "
    "Here's how you can accomplish the task:"
    "------"
    "##INSTRUCTIONS: "
    "- Focus on the meaningful match between the predicted answer and the correct answer.\n"
    "- Consider synonyms or paraphrases as valid matches.\n"
    "- Evaluate the correctness of the prediction compared to the answer."
)
USER = (
    "Please evaluate the following video-based question-answer pair:\n\n"
    "Question: {question}\n"
    "Correct Answer: {answer}\n"
    "Predicted Answer: {pred}\n\n"
    "Provide your evaluation only as a yes/no and score where the score is an integer value between 0 and 5, with 5 indicating the highest "
    "meaningful match. Please generate the response in the form of a Python dictionary string with keys 'pred' and 'score', where value of "
    "'pred' is  a string of 'yes' or 'no' and value of 'score' is in INTEGER, not STRING."
    "DO NOT PROVIDE ANY OTHER OUTPUT TEXT OR EXPLANATION. Only provide the Python dictionary string. "
    "For example, your response should look like this: {{'pred': 'yes', 'score': 4.8}}."
)


def rows(*answers):
    return [{"question": f"Q{k}?", "truth": "red", "answer": answer} for k, answer in enumerate(answers)]


def judge(url, **options):
    wire = Wire(url=url, wait_s=0.01, timeout_s=10.0, retries=options.pop("retries", 0))
    return Judge(wire=wire, model="big", **options)


def test_the_wording_is_video_chatgpts_to_the_letter():
    system, user = read_judge_prompt(ANSWERS).messages({"question": "What?", "truth": "a {red} dog", "answer": "{{ truth }} {% if %}"})
    assert system == {"role": "system", "content": SYSTEM}
    assert user["content"] == USER.format(question="What?", answer="a {red} dog", pred="{{ truth }} {% if %}"), "values are never templates"


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ("{'pred': 'yes', 'score': 5}", Verdict(right=True, score=5)), ('{"pred": "No", "score": 0}', Verdict(right=False, score=0)),
        ("```python\n{'pred': 'yes', 'score': 4.8}\n```", Verdict(right=True, score=4.8)),
        ("Sure! {'pred': 'yes', 'score': 5}", "no dictionary"), ("{'pred': 'yes'}", "no dictionary"), ("", "no dictionary"),
        ("{'pred': 'maybe', 'score': 3}", "pred is 'maybe'"), ("{'pred': True, 'score': 3}", "pred is True"),
        ("{'pred': 'yes', 'score': '5'}", "score is '5'"), ("{'pred': 'yes', 'score': 6}", "score is 6"),
        ("{'pred': 'yes', 'score': True}", "score is True"), ("{'pred': 'yes', 'score': 5, 'why': 1}", "no dictionary"),
        ("__import__('os').system('x')", "no dictionary"), ("[" * 5000, "no dictionary"),
        ("{'pred': 'yes', 'score': 1e999}", "score is inf"),
        ("{1: 2}", "no dictionary"), ("{'pred': ['yes'], 'score': 1}", "pred is"), ("{[]: 1}", "no dictionary"),
    ],
)  # fmt: skip
def test_a_reply_is_read_strictly(reply, wanted):
    found = read_judge_prompt(ANSWERS).read(reply)
    assert found == wanted if isinstance(wanted, Verdict) else isinstance(found, str) and wanted in found


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(max_size=40), st.from_regex(r"\{'pred': ('yes'|1|None), 'score': [-0-9.eE]{1,4}\}", fullmatch=True)))
def test_no_reply_breaks_the_reading(reply):
    for path in (ANSWERS, PAIRS):
        assert isinstance(read_judge_prompt(path).read(reply), Verdict | str)


def test_answers_are_judged_and_the_judge_is_on_record():
    with judging(right_if_same) as (url, asked):
        model = judge(url)
        found = model.answers(rows("red", "blue", "red"))
    assert [j.verdict.right for j in found] == [True, False, True] and {j.version for j in found} == {"big-0613"}
    assert len(asked) == 3 and asked[0]["temperature"] == 0 and asked[0]["model"] == "big" and asked[0]["stream"] is False
    told = figures(found)
    assert told["accuracy"] == pytest.approx(2 / 3) and told["score"] == pytest.approx(11 / 3) and told["judged"] == 3
    assert model.identity["prompt"]["sha256"] == read_judge_prompt(ANSWERS).sha256 and len(model.identity["prompt"]["sha256"]) == 64
    assert model.identity["model"] == "big" and model.identity["host"].startswith("127.0.0.1")


def test_equal_questions_are_asked_once():
    with judging(right_if_same) as (url, asked):
        found = judge(url).answers([*rows("red"), *rows("red"), *rows("blue")])
    assert len(asked) == 2 and [j.verdict.right for j in found] == [True, True, False]


def test_failures_are_counted_apart_and_are_in_no_mean():
    def decide(text):
        return {"Q0?": "{'pred': 'yes', 'score': 5}", "Q1?": "I think it is right.", "Q2?": 400}[re.search(r"Q\d\?", text)[0]]

    with judging(decide) as (url, asked):
        found = judge(url, attempts=3).answers(rows("a", "b", "c"))
    assert [j.failure for j in found] == ["", "unparsed", "unreachable"] and "400" in found[2].reason
    assert len(asked) == 1 + 3 + 1, "what is no verdict is asked for again"
    told = figures(found)
    assert told["accuracy"] == 1.0 and told["score"] == 5.0, "neither wrong nor neutral"
    assert told["failed"] == {"unparsed": 1, "unreachable": 1} and told["rows"] == 3 and told["judged"] == 1
    none = figures([Judged(failure="unparsed")])
    assert none["accuracy"] is None and none["score"] is None
    assert found[1].to_dict() == {"failure": "unparsed", "reason": "no dictionary of pred and score"}


def test_a_second_attempt_may_bring_the_verdict():
    replies = iter(["hm", "{'pred': 'yes', 'score': 5}"])
    with judging(lambda _: next(replies)) as (url, asked):
        assert judge(url, attempts=2).answers(rows("a"))[0].verdict == Verdict(right=True, score=5)
    assert len(asked) == 2


def test_what_is_on_disk_is_not_asked_again(tmp_path):
    path = tmp_path / "deep" / "cache.jsonl"
    with judging(right_if_same) as (url, asked):
        with VerdictCache.open(path) as cache:
            first = judge(url, cache=cache).answers(rows("red", "blue"))
        with VerdictCache.open(path) as cache:
            again = judge(url, cache=cache).answers(rows("red", "blue", "green"))
    assert len(asked) == 3 and [j.verdict for j in again[:2]] == [j.verdict for j in first]
    assert [j.cached for j in again] == [True, True, False] and again[0].version == "big-0613"
    assert len(path.read_text().splitlines()) == 3


def test_another_model_wording_or_answer_is_another_verdict():
    values = {"question": "Q", "truth": "t", "answer": "a"}
    names = {key_of("m", "p", values), key_of("n", "p", values), key_of("m", "q", values), key_of("m", "p", {**values, "answer": "b"})}
    assert len(names) == 4 and key_of("m", "p", dict(reversed(values.items()))) in names


def test_failures_are_not_kept(tmp_path):
    with judging(lambda _: "hm") as (url, asked), VerdictCache.open(tmp_path / "c.jsonl") as cache:
        judge(url, cache=cache, attempts=1).answers(rows("a"))
        judge(url, cache=cache, attempts=1).answers(rows("a"))
    assert len(asked) == 2 and (tmp_path / "c.jsonl").read_text() == ""


def test_a_line_that_a_kill_cut_is_dropped_and_what_is_no_verdict_refused(tmp_path):
    path = tmp_path / "c.jsonl"
    with VerdictCache.open(path) as cache:
        cache.put("k", Verdict(right=True, score=5), version="v", reply="é")
        cache.put("l", Verdict(right=False, score=1), version="v", reply="")
    whole = path.read_bytes()
    for cut in range(whole.index(b"\n") + 2, len(whole) - 1, 7):
        path.write_bytes(whole[:cut])
        with VerdictCache.open(path) as cache:
            assert cache.get("k") == (Verdict(right=True, score=5), "v") and cache.get("l") is None
            cache.put("m", Verdict(right=True, score=2), version="w", reply="r")
        assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["k", "m"]
    path.write_bytes(whole[:10])
    with VerdictCache.open(path) as cache:
        assert cache.get("k") is None
    for line in ("not json", '{"key": 1}', '{"key": "k", "version": "", "verdict": {"wrong": 1}}', "[]"):
        path.write_text(line + "\n")
        with pytest.raises(DatasetError, match="line 1: no verdict"), VerdictCache.open(path):
            pass


def test_two_processes_do_not_share_a_cache(tmp_path):
    with VerdictCache.open(tmp_path / "c.jsonl"):
        with pytest.raises(ConfigError, match="another process judges"), VerdictCache.open(tmp_path / "c.jsonl"):
            pass


def test_a_server_that_is_gone_ends_it_and_what_was_judged_is_kept(tmp_path):
    count = iter(range(1000))

    def decide(text):
        return right_if_same(text) if next(count) < 3 else 500

    many = [{"question": f"Q{k}", "truth": "red", "answer": "red"} for k in range(60)]
    with judging(decide) as (url, asked), VerdictCache.open(tmp_path / "c.jsonl") as cache:
        with pytest.raises(EndpointError, match=r"[56] requests to the judge failed in a row, .*500.*the same command goes on"):
            judge(url, cache=cache, give_up=5, concurrency=2).answers(many)
        assert len(asked) < 15
    assert len((tmp_path / "c.jsonl").read_text().splitlines()) == 3
    with judging(right_if_same) as (url, asked), VerdictCache.open(tmp_path / "c.jsonl") as cache:
        assert all(j.verdict.right for j in judge(url, cache=cache).answers(many))
        assert len(asked) == 57


def test_requests_run_beside_each_other():
    together = threading.Barrier(3, timeout=10)

    def decide(text):
        together.wait()  # each waits for two others, so one at a time would never end
        return right_if_same(text)

    with judging(decide) as (url, _):
        assert len(judge(url, concurrency=3).answers(rows("a", "b", "c"))) == 3


PAIR = [{"question": "Q", "truth": "red", "first": "red", "second": "blue"}]


def test_pairs_are_shown_in_both_orders():
    def decide(text):
        first = re.search(r"Answer 1: (.*)", text)[1]
        return "{'first': 9, 'second': 3}" if first == "red" else "{'first': 4, 'second': 8}"

    with judging(decide) as (url, asked):
        [found] = judge(url, prompt=read_judge_prompt(PAIRS)).pairs(PAIR)
    assert len(asked) == 2 and found.scores == (8.5, 3.5) and found.preferred == "first" and found.each == ((9.0, 3.0), (8.0, 4.0))
    told = pair_figures([found])
    assert told["first"] == 1.0 and told["consistent"] == 1.0 and told["first_shown"] == 0.5 and told["score_second"] == 3.5
    assert found.to_dict()["orders"][1] == {"first": 4.0, "second": 8.0, "version": "big-0613"}


def test_a_liking_for_the_first_place_cancels_and_is_told():
    with judging(lambda _: "{'first': 9, 'second': 3}") as (url, _):
        [found] = judge(url, prompt=read_judge_prompt(PAIRS)).pairs(PAIR)
    assert found.scores == (6.0, 6.0) and found.preferred == "tie" and found.each == ((9.0, 3.0), (3.0, 9.0))
    assert pair_figures([found]) | {"first_shown": 1.0, "consistent": 0.0, "tie": 1.0} == pair_figures([found])


def test_a_pair_of_which_one_order_failed_is_a_failure():
    one = JudgedPair(orders=(Judged(verdict=Verdict(first=9, second=1)), Judged(failure="unparsed", reason="r")))
    assert one.scores is one.preferred is one.each is None and one.to_dict() == {"failure": "unparsed", "reason": "r"}
    told = pair_figures([one])
    assert told["judged"] == 0 and told["failed"] == {"unparsed": 1, "unreachable": 0} and "first" not in told


def test_a_prompt_must_be_of_the_form_that_is_asked():
    with pytest.raises(ConfigError, match="is of form answer"):
        judge("http://localhost:1/v1").pairs(PAIR)
    with pytest.raises(ConfigError, match="is of form pair"):
        judge("http://localhost:1/v1", prompt=read_judge_prompt(PAIRS)).answers(rows("a"))
    with pytest.raises(ConfigError, match="has no name"):
        Judge(wire=Wire(url="http://localhost:1/v1"), model="")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user": None}, "exactly these keys"), ({"more": 1}, "exactly these keys"), ({"form": "x"}, "a value is not"),
        ({"lowest": 5}, "a value is not"), ({"highest": "5"}, "a value is not"), ({"user": "{{ question }}"}, "the texts read question"),
        ({"user": "{{ answer }} {{ other }}"}, "the texts read answer, other"), ({"system": "{% if %}"}, "not a valid template"),
        ({"form": "pair"}, "reads first, question, second, truth"),
    ],
)  # fmt: skip
def test_a_prompt_file_is_read_strictly(tmp_path, change, words):
    import yaml

    whole = {**yaml.safe_load(ANSWERS.read_text()), **change}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in whole.items() if value is not None}))
    with pytest.raises(PromptError, match=words):
        read_judge_prompt(path)
    path.write_text("[")
    with pytest.raises(PromptError, match="cannot be read as YAML"):
        read_judge_prompt(path)


def test_another_wording_has_another_hash(tmp_path):
    text = ANSWERS.read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("name: judge_answers", "name: mine"))
    assert read_judge_prompt(path).sha256 == read_judge_prompt(ANSWERS).sha256, "a name is no wording"
    path.write_text(text.replace("meaningful match", "match", 1))
    assert read_judge_prompt(path).sha256 != read_judge_prompt(ANSWERS).sha256
