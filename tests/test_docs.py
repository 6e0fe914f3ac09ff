"""The how-to pages are true: their code runs, their commands parse, their links lead somewhere."""

import inspect
import re
import shlex

import pytest
import yaml
from typer.testing import CliRunner

from tests.people import write_people
from tests.test_readme import ROOT
from unifusion import catalog, share
from unifusion.cli.train import load_script
from unifusion.datasets.mixture import Mixture
from unifusion.models.aligner import AlignerStream
from unifusion.processor.streams import read_config
from unifusion.training.parts import read_parts_table
from unifusion.training.tune import specs_of

OPTIONAL = {"langchain": ["langchain_core"], "metrics": ["evaluate", "sacrebleu"]}
"""Packages of extras that a page's code needs."""
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "train" / "README.md"]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.stem)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, monkeypatch):
    for name in ("tiny-chat", *(["tiny-embed"] if "tiny-embed" in page.read_text(encoding="utf-8") else [])):
        if name not in catalog.names("checkpoints"):
            pytest.skip(f"checkpoints/{name} is not there: make tiny trains it")
    for package in OPTIONAL.get(page.stem, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(ROOT)
    names = {}
    for code in blocks(page, "python"):
        exec(compile(code, page.name, "exec"), names)


def test_links_lead_somewhere():
    for page in PAGES:
        for link, _, anchor in (m.partition("#") for m in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))):
            if link.startswith("http"):
                continue
            target = (page.parent / link).resolve() if link else page
            assert target.exists(), f"{page.name}: {link}"
            if anchor:
                titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}, f"{page.name}: #{anchor}"


def test_what_pages_show_as_yaml_can_be_used(tmp_path):
    found = [yaml.safe_load(b) for page in PAGES for b in blocks(page, "yaml")]
    recipes = [b for b in found if "llm" in b]
    spaces = [b for b in found if "towers" in b]
    for choices in spaces:
        assert set(choices) <= set(load_script(share.folder("train") / "align.py").Choices.__dataclass_fields__)
        for name, raw in choices["streams"].items():
            stream = read_config(AlignerStream, {k: v for k, v in raw.items() if k != "source"}, name)
            assert "source" in stream.spec.encoder_class.Config.__dataclass_fields__ and (stream.timing or not stream.clock)
        assert sorted(n for names in choices["towers"].values() for n in names) == sorted(choices["streams"])
    found = [b for b in found if b not in spaces]
    adapters = [b for b in found if all("adapter" in part for part in b.values()) and b not in recipes]
    corpora = [b for b in found if any("task" in part for part in b.values() if isinstance(part, dict)) and b not in recipes]
    mixtures = [b for b in found if b not in (*adapters, *recipes, *corpora)]
    assert adapters and mixtures and recipes and corpora
    for recipe in recipes:
        fields = load_script(share.folder("train") / "tune.py").Choices.__dataclass_fields__
        assert set(recipe) <= set(fields)
        read_parts_table(recipe["parts"])
        for stream in recipe["streams"].values():
            spec = specs_of({"x": {k: v for k, v in stream.items() if k != "source"}})["x"]
            assert "source" in spec.encoder_class.Config.__dataclass_fields__ and spec.adapter_choices
    for parts in corpora:
        for part in parts.values():
            tasks = part.get("task", [])
            assert set([tasks] if isinstance(tasks, str) else tasks) <= set(catalog.names("tasks"))
            wanted = inspect.signature(catalog.load("datasets", part["dataset"]).__init__).parameters
            assert set(part.get("options", {})) <= set(wanted)
    for streams in adapters:
        for spec in streams.values():
            catalog.load("adapters", spec["adapter"]).Config(**spec["adapter_config"])
    data = write_people(tmp_path)
    for parts in mixtures:
        path = tmp_path / "mixture.yaml"
        path.write_text(yaml.safe_dump(parts, sort_keys=False), encoding="utf-8")
        assert len(Mixture(path, data=data)) > 0


def test_commands_of_the_pages_have_the_flags_they_are_shown_with():
    from unifusion.cli.app import app

    lines = [line for page in PAGES for b in blocks(page, "") for line in b.splitlines() if line.startswith("unifusion ")]
    assert lines
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        if words[0] == "train" and words[1] in catalog.names("recipes"):
            out = CliRunner().invoke(app, ["train", words[1], "--help"])
            assert {w for w in words if w.startswith("--")} <= set(re.findall(r"--[\w-]+", out.output)), line


def test_the_page_of_encoders_and_adapters_has_them_all():
    named = set(re.findall(r"`([a-z0-9_]+)`", (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8")))
    for kind in ("encoders", "adapters"):
        assert set(catalog.names(kind)) <= named, kind
