"""lmms-eval's interface without lmms-eval: kwargs, messages, batches, likelihoods, rounds, and the tasks' files and scores.

`test_lmms_eval_run.py` (--thorough) runs the real one.
"""

import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from tests.toys import chat_model, clip, talk, video
from unifusion import catalog, share
from unifusion.cli.app import app
from unifusion.conversation import Clip, Example, Media
from unifusion.engine import Engine
from unifusion.engine.decoding import Sampling
from unifusion.errors import ConfigError, DatasetError, MediaError
from unifusion.integrations.lmms_eval import manifests, pack
from unifusion.integrations.lmms_eval.asking import ask, rounds, score
from unifusion.integrations.lmms_eval.generation import Wanted, read_wanted
from unifusion.integrations.lmms_eval.messages import conversation_of, messages_of
from unifusion.media.written import wav
from unifusion.metrics.macro_recall import macro_recall

ROOT = Path(__file__).resolve().parent.parent.parent
TASKS = share.folder("eval") / "lmms_eval_tasks"


@pytest.fixture(scope="module")
def engine():
    return Engine(*chat_model())


@pytest.fixture
def sounds(tmp_path):
    """Three sounds of different length on disk."""
    for n in range(3):
        (tmp_path / f"{n}.wav").write_bytes(wav(clip(seconds=1.0 + n / 4, seed=n, picture=False)))
    return [str(tmp_path / f"{n}.wav") for n in range(3)]


def test_kwargs_are_honoured_in_the_way_of_lmms_eval():
    usual = {"max_new_tokens": 16, "temperature": 0, "top_p": 1.0, "num_beams": 1, "do_sample": False, "until": ["\n\n"], "top_k": None}
    wanted = read_wanted(usual, max_new_tokens=64)
    assert wanted == Wanted(max_new_tokens=16, until=("\n\n",)) and wanted.sampling == Sampling()
    assert read_wanted({}, max_new_tokens=7) == Wanted(max_new_tokens=7)
    assert read_wanted({"do_sample": False, "temperature": 0.7, "top_p": 0}, max_new_tokens=7).sampling == Sampling()
    drawn = read_wanted({"temperature": 0.7, "top_p": 0.9, "seed": 3}, max_new_tokens=7).sampling
    assert drawn == Sampling(temperature=0.7, top_p=0.9, seed=3)
    assert read_wanted({"do_sample": True}, max_new_tokens=7).sampling.temperature == 1.0
    assert Wanted(max_new_tokens=1, until=("\n", ".")).cut(" red. blue\ngreen ") == "red"


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"num_beams": 4}, "num_beams=4"), ({"top_k": 50}, "top_k=50"), ({"tempeature": 1}, "temperature"),
        ({"top_p": 2, "do_sample": True}, "top_p=2"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"), ({"until": [3]}, "until"), ({"do_sample": True, "temperature": 0}, "temperature=0"),
        ({"visual_cot": True}, "visual_cot"),
    ],
)  # fmt: skip
def test_kwargs_that_it_does_not_have_are_refused_by_name(kwargs, match):
    with pytest.raises(ConfigError, match=match):
        read_wanted(kwargs, max_new_tokens=8)


def test_messages_of_all_spellings():
    from PIL import Image

    still = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    content = [
        {"type": "video", "url": "a.mp4", "start_time": 1.0, "end_time": 2.5, "transcript": "hi"},
        {"type": "video", "url": {"url": "b.mp4", "video_start": 0.5, "video_end": None}}, {"type": "image", "url": still},
        {"type": "audio", "url": {"array": np.zeros(800), "sampling_rate": 8000, "path": None}},
        {"type": "audio", "url": {"bytes": b"RIFF"}},
        {"type": "audio", "url": "c.wav", "at_least_db": -18}, {"type": "text", "text": "what?"},
    ]  # fmt: skip
    talked = conversation_of([{"role": "system", "content": "be short"}, {"role": "user", "content": content}], "t, test, row 0")
    cut, rest, picture, sound, raw, soft = talked.media
    assert talked.id == "t, test, row 0" and (cut.source, cut.start_s, cut.end_s, cut.transcript) == ("a.mp4", 1.0, 2.5, "hi")
    assert (rest.source, rest.start_s, rest.end_s) == ("b.mp4", 0.5, None) and picture.kind == "image"
    assert isinstance(sound.source, Clip) and (sound.source.sampling_rate_hz, sound.source.duration_s) == (8000, 0.1)
    assert raw.source == b"RIFF" and soft.at_least_db == -18 and talked.messages[1].text == "what?"
    [simple] = messages_of(["x.wav", still, {"type": "audio", "url": "y.mp3"}, {"array": np.zeros(8), "sampling_rate": 8000}, "z"], "why?")
    assert [p["type"] for p in simple["content"]] == ["audio", "image", "audio", "audio", "video", "text"]
    assert [p["type"] for p in messages_of(None, "why?")[0]["content"]] == ["text"]
    for messages, match in (
        ([], "messages"), ([{"role": "user", "content": [{"type": "video", "url": "http://x/a.mp4"}]}], "network"),
        ([{"role": "user", "content": [{"type": "smell", "url": "a"}]}], "smell"), ([{"role": "robot", "content": "x"}], "robot"),
        ([{"role": "user", "content": [{"type": "audio", "url": "a.wav", "at_least_db": "loud"}]}], "loud"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=f"row 7.*{match}"):
            conversation_of(messages, "row 7")
    with pytest.raises(ConfigError, match="int"):
        messages_of([3], "why?")


def test_answers_come_back_in_order_whatever_was_batched(engine):
    talks = [talk([video(seed=n)] if n % 2 else [], question="q" * (9 - n), name=str(n)) for n in range(7)]
    wanted = [Wanted(max_new_tokens=6 if n % 3 else 3, until=("e",) if n == 4 else ()) for n in range(7)]
    batched = ask(engine, talks, wanted, batch_size=3)
    alone = [ask(engine, [t], [w])[0] for t, w in zip(talks, wanted, strict=True)]
    own = [engine.answer([t], max_new_tokens=w.max_new_tokens)[0] for t, w in zip(talks, wanted, strict=True)]
    assert batched == alone and [t for t, _ in batched] == [w.cut(a.text) for w, a in zip(wanted, own, strict=True)]
    assert [count for _, count in batched] == [len(a.ids) for a in own]


def test_a_request_that_fails_ends_the_run_or_is_logged_and_empty(engine, caplog):
    talks = [talk(name="fine"), talk([Media(kind="video", source="/nowhere.mp4")], name="row 5")]
    wanted = [Wanted(max_new_tokens=3)] * 2
    with pytest.raises(MediaError, match=r"nowhere\.mp4"):
        ask(engine, talks, wanted, batch_size=2)
    [fine, failed] = ask(engine, talks, wanted, batch_size=2, on_error="empty")
    assert failed == ("", 0) and fine[1] == 3 and "row 5 has no answer" in caplog.text
    losses = score(engine, [talks[0], talks[1]], ["a", "b"], on_error="empty")
    assert losses[1] == (float("inf"), False) and losses[0][0] < float("inf")


def test_options_of_a_question_are_scored_over_one_prefix(engine):
    shown, bare = talk([video(seed=2)], name="a"), talk(name="b")
    asked = [(shown, " yes"), (bare, "up"), (shown, " no"), (shown, " yes"), (bare, "down")]
    found = score(engine, [t for t, _ in asked], [e for _, e in asked], batch_size=2)
    [first] = engine.score_labels([shown], [("yes", "no")])
    [second] = engine.score_labels([bare], [("up", "down")])
    losses = [-first.log_probs[0], -second.log_probs[0], -first.log_probs[1], -first.log_probs[0], -second.log_probs[1]]
    assert [loss for loss, _ in found] == pytest.approx(losses, abs=1e-4) and not any(greedy for _, greedy in found)


def test_greedy_is_told_of_the_ending_that_is_said():
    def said(conversations, labels, **options):
        return [SimpleNamespace(labels=own, log_probs=[-1.0] * len(own)) for own in labels]

    def answer(conversations, **options):
        return [SimpleNamespace(text="yes", stopped=c.id == "ends") for c in conversations]

    processor = chat_model()[1]
    fake = SimpleNamespace(score_labels=said, answer=answer, processor=processor)
    told = score(fake, [talk(name="ends"), talk(name="ends"), talk(name="cut")], ["yes", "no", "yes"])
    assert told == [(1.0, True), (1.0, False), (1.0, False)]


def test_rounds_go_on_until_each_task_ends(engine):
    calls = []

    def begin(name, last):
        def messages(round_idx=None, previous_output=None, previous_round_info=None):
            calls.append((name, round_idx, previous_output, previous_round_info))
            shown = [{"role": "user", "content": f"{name} {round_idx}"}]
            return shown if round_idx is None else (shown, round_idx == last, previous_output, (previous_round_info or 0) + 1)

        return messages

    said = rounds(engine, [begin("a", 1), begin("b", 3)], ["a", "b"], conversation_of, [Wanted(max_new_tokens=2)] * 2, batch_size=2)
    assert [len(s) for s in said] == [1, 3] and all(isinstance(t, str) for s in said for t in s)
    assert [c[:2] for c in calls] == [("a", None), ("b", None), ("a", 1), ("b", 1), ("b", 2), ("b", 3)]
    assert calls[-1][2] == said[1] and calls[-1][3] == 2


@dataclass
class Instance:
    args: tuple


@pytest.fixture
def model(monkeypatch, engine):
    """The module of models over a stand-in for the three names of lmms-eval that it uses."""

    class lmms:
        def __init__(self):
            self.task_dict = {}

    @dataclass
    class Counts:
        output_tokens: int

    @dataclass
    class Result:
        text: str
        token_counts: Counts | None = None

    names = {
        "lmms_eval": {}, "lmms_eval.api": {}, "lmms_eval.api.instance": {"GenerationResult": Result, "TokenCounts": Counts},
        "lmms_eval.api.model": {"lmms": lmms}, "lmms_eval.models": {},
        "lmms_eval.models.registry_v2": {"ModelManifest": lambda **told: SimpleNamespace(**told)},
    }  # fmt: skip
    for name, held in names.items():
        module = ModuleType(name)
        vars(module).update(held)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "unifusion.integrations.lmms_eval.model", raising=False)
    monkeypatch.setattr(Engine, "from_pretrained", classmethod(lambda cls, name, **options: engine))
    import unifusion.integrations.lmms_eval.model as found

    yield found
    sys.modules.pop("unifusion.integrations.lmms_eval.model", None)


def test_the_entry_point_names_classes_of_both_kinds(model):
    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    assert points["lmms_eval.models"] == {"unifusion": "unifusion.integrations.lmms_eval:manifests"}
    [one] = manifests()
    chat, simple = (getattr(model, path.rpartition(".")[2]) for path in (one.chat_class_path, one.simple_class_path))
    assert one.model_id == "unifusion" and not chat.is_simple and simple.is_simple


def test_the_models_answer_score_and_talk(model, sounds, engine):
    docs = [{"sound": s, "question": f"what {n}?"} for n, s in enumerate(sounds)]

    def messages(doc, round_idx=None, **before):
        shown = messages_of([doc["sound"]], doc["question"])
        return shown if round_idx is None else (shown, round_idx == 2, before["previous_output"], None)

    def visual(doc):
        return [doc["sound"]]

    def again(doc, round_idx, **before):
        return [doc["sound"]], doc["question"], round_idx == 2, before["previous_output"], None

    kwargs = {"max_new_tokens": 4, "until": []}
    chat, simple = model.UniFusionChat(batch_size="2"), model.UniFusionSimple()
    for one in (chat, simple):
        one.task_dict = {"t": {"test": docs}}
    where = [(n, "t", "test") for n in range(3)]
    said = chat.generate_until([Instance((d["question"], messages, kwargs, *w)) for d, w in zip(docs, where, strict=True)])
    also = simple.generate_until([Instance((d["question"], kwargs, visual, *w)) for d, w in zip(docs, where, strict=True)])
    own = engine.answer([conversation_of(messages(d), "") for d in docs], max_new_tokens=4)
    assert [s.text for s in said] == [s.text for s in also] == [a.text for a in own] and said[0].token_counts.output_tokens == 4
    talked = chat.generate_until_multi_round([Instance(("", messages, kwargs, *where[0]))])
    assert talked == simple.generate_until_multi_round([Instance((docs[0]["question"], kwargs, visual, again, *where[0]))])
    assert talked == [[said[0].text] * 2]
    losses = simple.loglikelihood([Instance(("what 0?", ending, visual, *where[0])) for ending in (" a", " b")] + [Instance(("", "a"))])
    [own] = engine.score_labels([conversation_of(messages(docs[0]), "")], [("a", "b")])
    assert [found.text[0] for found in losses[:2]] == pytest.approx([-p for p in own.log_probs], abs=1e-4) and len(losses) == 3
    with pytest.raises(ConfigError, match="5 parts"):
        chat.generate_until([Instance((messages, kwargs, *where[0]))])


def test_nothing_of_lmms_eval_is_imported_but_by_its_own_models():
    code = (
        "import sys, unifusion, unifusion.integrations.lmms_eval.asking, unifusion.integrations.lmms_eval.pack\n"
        "print([m for m in sys.modules if m.partition('.')[0] == 'lmms_eval'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_arguments_that_it_does_not_take_are_refused(model, monkeypatch):
    for wrong, match in (({"batch_size": "auto"}, "auto"), ({"max_batch_size": 8}, "max_batch_size=8"), ({"on_error": "skip"}, "skip")):
        with pytest.raises(ConfigError, match=match):
            model.UniFusionChat(**wrong)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="one process"):
        model.UniFusionChat()


def rows(sounds, **labels):
    return [
        Example(
            id=f"r{n}", group=f"g{n % 2}", media=(Media(kind="audio", source=s, start_s=0.25 if n else None, transcript="hm"),),
            texts={"question": "how many?", "answer": "two"}, labels={
                "emotion": ("happy", "sad", "happy")[n], "history": ({"speaker": "Ann", "text": f"before {n}"},) * n, **labels
            },
        )
        for n, s in enumerate(sounds)
    ]  # fmt: skip


def test_a_row_written_and_read_is_the_same_question_and_the_same_score(sounds, tmp_path):
    examples = rows(sounds, answers=("2", "a pair"))
    for name, task in (("crema_d", catalog.load("tasks", "emotion")(labels=pack.PACK["crema_d"].labels)), ("open_qa", None)):
        task = task or catalog.load("tasks", "open_qa")()
        done, missing = pack.write_rows([*examples, Example(id="gone")], tmp_path / "d" / f"{name}.jsonl", pack.PACK[name])
        docs = [json.loads(line) for line in (tmp_path / "d" / f"{name}.jsonl").read_text().splitlines()]
        assert (done, missing) == (3, 1) and len({tuple(d) for d in docs}) == 1
        for doc, example in zip(docs, examples, strict=True):
            assert conversation_of(pack.doc_to_messages(doc), example.id) == task.conversation(example)
            assert name == "open_qa" or ("Ann: before 1" in pack.doc_to_text(doc)) == (example.id == "r1")
            assert pack.doc_to_text(doc) == task.conversation(example).messages[-1].text
            for answer in ("happy", "2", "two", "", "the two of them"):
                item = (pack.process_labels if name == "crema_d" else pack.process_answers)(doc, [answer])
                assert item["accuracy"]["score"] == task.score(answer, example).value and item["accuracy"]["group"] == example.group
                assert item["unparsed"]["score"] == float(task.score(answer, example).unparsed)
    assert pack.doc_to_visual(docs[0]) == [sounds[0]] and pack.doc_to_visual(docs[1])[0]["video_start"] == 0.25
    exact = [pack.process_answers(docs[0], [a]) for a in (" Two", "The two.", "A pair", "three")]
    assert [e["exact"]["score"] for e in exact] == [1, 0, 1, 0] and [e["vqa_normalised"]["score"] for e in exact] == [1, 1, 1, 0]


def test_soft_sounds_are_asked_about_as_loud_as_by_our_own_harness(sounds, tmp_path):
    [example] = [replace(e, labels={"sound": "rain"}) for e in rows(sounds)[:1]]
    task = catalog.load("tasks", "sound")(labels=("rain",))
    row = pack.row_of(example, "sound", ("rain",))
    talked = conversation_of(pack.doc_to_messages(row), example.id)
    assert talked == task.conversation(example) and talked.media[0].at_least_db == task.at_least_db is not None


def test_figures_over_a_set_are_those_of_our_metrics(sounds):
    examples = rows(sounds)
    docs = [pack.row_of(e, "emotion", ("happy", "sad")) for e in examples]
    items = [pack.process_labels(d, [a])["accuracy"] for d, a in zip(docs, ("happy", "happy", "?"), strict=True)]
    assert pack.mean(items) == pytest.approx(1 / 3) and items[2]["parsed"] is None
    assert pack.macro_recall(items) == macro_recall(["happy", "happy", None], ["happy", "sad", "happy"])
    assert pack.weighted_f1(items) == pytest.approx(pack.macro_f1(items) * 2 * 2 / 3)  # only happy has an F1, with support 2 of 3


def test_labels_of_any_data_are_told_and_what_is_no_file_is_refused(sounds, tmp_path):
    pack.write_rows(rows(sounds), tmp_path / "emotion.jsonl", pack.PACK["emotion"])
    assert json.loads((tmp_path / "emotion.jsonl").read_text().splitlines()[0])["choices"] == ["happy", "sad"]
    labels = {"emotion": "sad", "votes": np.arange(2), "seen": {"b", "a"}, "file": Path("x")}
    row = pack.row_of(Example(id="x", labels=labels), "emotion", ("sad",))
    assert json.loads(row["labels"]) == {"emotion": "sad", "votes": [0, 1], "seen": ["a", "b"], "file": "x"}
    odd = [Media(kind="video", source="clip-world://7/1"), Media(kind="video", source=clip())]
    for media in (*odd, Media(kind="audio", source=sounds[0]).muted("audio")):
        with pytest.raises(DatasetError, match="no file"):
            pack.row_of(Example(id="x", media=(media,), labels={"emotion": "sad"}), "emotion", ("sad",))
    with pytest.raises(DatasetError, match="none of 1 rows"):
        pack.write_rows([Example(id="x", labels={"emotion": "sad"})], tmp_path / "e.jsonl", pack.PACK["emotion"])
    with pytest.raises(DatasetError, match="crema_d"):
        pack.packed_of("crema")


def test_a_published_set_is_written_by_its_reader_with_its_labels_pinned(tmp_path, monkeypatch):
    actors = tmp_path / "ravdess" / "Actor_01"
    actors.mkdir(parents=True)
    for emotion in (2, 3, 8):  # calm, happy, surprise
        (actors / f"03-01-0{emotion}-01-01-01-01.wav").write_bytes(wav(clip(seconds=0.5, seed=emotion, picture=False)))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["data", "lmms", "ravdess", "ravdess", "--split", "all"])
    assert done.output == "lmms_data/ravdess.jsonl: 3 rows of uf_ravdess\n"
    docs = [json.loads(line) for line in (tmp_path / "lmms_data" / "ravdess.jsonl").read_text().splitlines()]
    assert [doc["target"] for doc in docs] == ["neutral", "happy", "surprise"] and len(docs[0]["choices"]) == 7
    assert all(Path(doc["media"][0]["path"]).is_absolute() for doc in docs) and len({doc["group"] for doc in docs}) == 1
    assert "surprise" in pack.doc_to_messages(docs[0])[0]["content"][-1]["text"]
    failed = CliRunner().invoke(app, ["data", "lmms", "ravdess", "nowhere"])
    assert isinstance(failed.exception, DatasetError)


class _Functions(yaml.SafeLoader):
    """Reads `!function` as the object that it names."""


_Functions.add_constructor("!function", lambda loader, node: getattr(pack, loader.construct_scalar(node).removeprefix(f"{pack.__name__}.")))


@pytest.mark.parametrize("name", sorted(pack.PACK))
def test_every_task_of_the_pack_has_its_file(name):
    raw = yaml.load((TASKS / f"{name}.yaml").read_text(), _Functions)
    whole = {**yaml.load((TASKS / raw.pop("include")).read_text(), _Functions), **raw}
    assert whole["task"] == f"uf_{name}" and whole["dataset_kwargs"]["data_files"]["test"] == f"lmms_data/{name}.jsonl"
    labelled = pack.PACK[name].task != "open_qa"
    assert whole["process_results"] is (pack.process_labels if labelled else pack.process_answers)
    example = Example(id="x", texts={"answer": "a", "question": "b"}, labels={"emotion": "sad", "sound": "sad"})
    doc = pack.row_of(example, pack.PACK[name].task, ["sad"] if labelled else [])
    item = whole["process_results"](doc, ["sad"])
    assert {m["metric"] for m in whole["metric_list"]} == set(item) and whole["metadata"]["version"] == 1.0
    assert all(isinstance(m["aggregation"]([item[m["metric"]]] * 2), float) for m in whole["metric_list"])


def test_no_file_of_the_pack_is_of_no_task():
    assert {p.stem for p in TASKS.glob("*.yaml")} == set(pack.PACK)


def test_the_commands(tmp_path, sounds, monkeypatch):
    def run(*words):
        return CliRunner().invoke(app, [str(w) for w in words])

    assert run("paths", "lmms-tasks").output.strip() == str(TASKS) and "deepspeed_configs" in run("paths").output
    assert isinstance(run("paths", "lmms").exception, ConfigError)
    lines = [{"id": str(n), "audio": s, "emotion": "sad", "split": "test" if n else "train"} for n, s in enumerate(sounds)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    monkeypatch.chdir(tmp_path)
    done = run("data", "lmms", "uf_emotion", "rows.jsonl")
    assert done.exit_code == 0 and done.output == "lmms_data/emotion.jsonl: 2 rows of uf_emotion\n"
    assert "3 rows" in run("data", "lmms", "emotion", "rows.jsonl", "--split", "all", "-o", "x").output and (tmp_path / "x").is_dir()
