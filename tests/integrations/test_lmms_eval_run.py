"""lmms-eval itself, from PyPI and without what it pins, in an environment of its own: its numbers are those of our own harness."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

from unifusion import catalog
from unifusion.datasets.crema_d import CremaD
from unifusion.datasets.messages import Messages
from unifusion.engine import Engine
from unifusion.integrations.lmms_eval.pack import PACK
from unifusion.tasks.open_qa import OpenQa

ROOT = Path(__file__).resolve().parent.parent.parent
LMMS_EVAL = "lmms-eval==0.7.3"
PURE = (
    "loguru", "evaluate==0.4.6", "pytablewriter", "DataProperty", "mbstrdecoder", "pathvalidate", "tabledata", "tcolorpy", "typepy",
    "chardet", "tenacity", "python-dotenv", "pytz",
)  # fmt: skip
"""What it imports for such tasks beside what is there; all without dependencies of their own."""
CHOICE = """
dataset_path: json
dataset_kwargs: {data_files: {test: lmms_data/open_qa.jsonl}}
test_split: test
task: uf_test_choice
output_type: multiple_choice
doc_to_visual: !function unifusion.integrations.lmms_eval.pack.doc_to_visual
doc_to_text: !function unifusion.integrations.lmms_eval.pack.doc_to_text
doc_to_choice: [red, blue, happy, sad]
doc_to_target: 0
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A Python that has lmms-eval, our entry point, and through a path file all that this one has."""
    pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob("lib/python3*/site-packages"))
    (site / "base.pth").write_text("\n".join(dict.fromkeys(sysconfig.get_paths()[k] for k in ("purelib", "platlib"))) + "\n")
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "-q", "--no-deps", LMMS_EVAL, *PURE]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        pytest.skip(f"{LMMS_EVAL} cannot be installed (no network?): {done.stderr[-300:]}")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = site / "unifusion_x-0.dist-info"  # what an installation of this tree would register
    own.mkdir()
    (own / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0\n")
    points = "\n".join(f"{k} = {v}" for k, v in project["entry-points"]["lmms_eval.models"].items())
    (own / "entry_points.txt").write_text(f"[lmms_eval.models]\n{points}\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Clips of clip world in CREMA-D's layout, and questions about others as JSON lines, made into the pack's files by the command."""
    folder = tmp_path_factory.mktemp("data")
    unifusion(folder, "data", "world", "-o", "acted", "--layout", "crema_d", "--count", "104", "--size", "64", "--duration", "3")
    unifusion(folder, "data", "world", "-o", "world", "--count", "27", "--size", "64", "--duration", "3", "--split", "test_iid")
    rows = [json.loads(line) for line in (folder / "world" / "manifest.jsonl").read_text().splitlines()]
    flat = [{"id": r["id"], "path": r["path"], "question": r["question"], "answer": r["answer"], **r["labels"]} for r in rows]
    (folder / "world" / "questions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in flat))
    unifusion(folder, "data", "lmms", "crema_d", "acted", "--split", "all")
    unifusion(folder, "data", "lmms", "open_qa", "world/questions.jsonl")
    return folder


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def unifusion(folder, *words):
    subprocess.run([sys.executable, "-m", "unifusion", *words], cwd=folder, env=environment(), check=True, capture_output=True)


def lmms_eval(python, folder, tasks, out, *further, include=ROOT / "eval" / "lmms_eval_tasks"):
    """Run it; returns its results and the samples of each task."""
    command = [
        python, "-P", "-m", "lmms_eval", "eval", "--model", "unifusion", "--model_args", "pretrained=checkpoints/tiny-chat",
        "--include_path", include, "--tasks", ",".join(tasks), "--batch_size", "8", "--log_samples", "--output_path", out, *further,
    ]  # fmt: skip
    cache = {"HF_HOME": str(folder / "cache"), "LMMS_EVAL_HOME": str(folder / "cache")}
    done = subprocess.run(map(str, command), cwd=folder, env={**environment(), **cache}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    [results] = (folder / out).glob("*/*_results.json")
    samples = {t: [json.loads(line) for line in next((folder / out).glob(f"*/*_samples_{t}.jsonl")).open()] for t in tasks}
    return json.loads(results.read_text()), {t: sorted(rows, key=lambda r: r["doc_id"]) for t, rows in samples.items()}


def test_both_harnesses_give_every_answer_and_every_number_the_same(python, data):
    results, samples = lmms_eval(python, data, ["uf_crema_d", "uf_open_qa"], "out")
    acted, asked = list(CremaD(data / "acted")), list(Messages(data / "world" / "questions.jsonl"))
    assert len(acted) + len(asked) >= 200
    engine = Engine.from_pretrained("checkpoints/tiny-chat")
    for name, examples, task in (
        ("uf_crema_d", acted, catalog.load("tasks", "emotion")(labels=PACK["crema_d"].labels)), ("uf_open_qa", asked, OpenQa()),
    ):  # fmt: skip
        answers = engine.answer([task.conversation(e) for e in examples], max_new_tokens=32, batch_size=8)
        rows = samples[name]
        assert [r["doc_id"] for r in rows] == list(range(len(examples)))
        assert [r["filtered_resps"] for r in rows] == [a.text for a in answers]
        scores = [task.score(a.text, e) for a, e in zip(answers, examples, strict=True)]
        assert [r["accuracy"]["score"] for r in rows] == [s.value for s in scores]
        told = {k.removesuffix(",none"): v for k, v in results["results"][name].items()}
        for metric, value in task.summarise(scores, examples).items():
            assert told[metric] == pytest.approx(value, abs=1e-12), (name, metric)
        assert results["versions"][name] == 1.0 and len({a.text for a in answers}) > 1
        print(name, len(rows), {k: told[k] for k in ("accuracy", "unparsed")})


def test_simple_tasks_compare_options_by_likelihood(python, data):
    (data / "tasks").mkdir()
    (data / "tasks" / "choice.yaml").write_text(CHOICE)
    _, samples = lmms_eval(python, data, ["uf_test_choice"], "likely", "--force_simple", "--limit", "6", include=data / "tasks")
    examples = list(Messages(data / "world" / "questions.jsonl"))[:6]
    engine = Engine.from_pretrained("checkpoints/tiny-chat")
    scored = engine.score_labels([OpenQa().conversation(e) for e in examples], [("red", "blue", "happy", "sad")] * 6)
    for row, own in zip(samples["uf_test_choice"], scored, strict=True):
        losses = [float(pair[0]) for pair in row["filtered_resps"]]
        assert losses == pytest.approx([-p for p in own.log_probs], abs=1e-3)
        assert row["acc"] == float(own.best == "red")
