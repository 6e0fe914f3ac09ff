"""Hostile rows through `data validate` and through training: each named, none crashes, none is trained on, good ones between all are."""

import json
import math
import resource
from functools import partial

import pytest
import yaml

from tests.curation import hostile
from tests.thorough import further
from tests.toys import chat_model
from unifusion import checkpoint
from unifusion.curation.source import open_source
from unifusion.curation.validating import ValidateOptions, validate
from unifusion.errors import DatasetError
from unifusion.training.corpus import Corpus, Rows
from unifusion.training.fit import FitChoices, fit
from unifusion.training.tune import collate_rows

MEMORY = 1_500_000
"""KiB that looking at rows and training a toy model may add to the process; one row of 30 MB read whole in several copies would not fit."""


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    model, processor = chat_model(seed=1)
    folder = checkpoint.save(model, processor, tmp_path_factory.mktemp("toy") / "m", provenance={"recipe": "random"}, self_contained=True)
    return model, processor, str(folder)


def corpus_of(made):
    """The rows as a part that may not leave its folder."""
    path = made.path.parent.parent / "mix.yaml"
    options = {"root": str(made.path.parent)}
    path.write_text(yaml.safe_dump({"rows": {"dataset": "messages", "path": str(made.path), "options": options}}))
    return Corpus(path, seed=3)


def test_there_are_kinds_enough_and_the_seed_decides(tmp_path):
    assert len(hostile.KINDS) >= 39
    first = hostile.write(tmp_path / "a", 60, heavy=0, seed=5)
    again = hostile.write(tmp_path / "b", 60, heavy=0, seed=5)
    assert first.path.read_bytes() == again.path.read_bytes().replace(str(tmp_path / "b").encode(), str(tmp_path / "a").encode())
    assert set(first.kinds.values()) == {*hostile.KINDS, "good"}


@pytest.mark.parametrize(("count", "heavy"), [(1000, 1), further(10_000, 8)])
def test_each_is_named_none_crashes_none_is_trained_on(toy, tmp_path, count, heavy):
    model, processor, folder = toy
    made, before = hostile.write(tmp_path / "in", count, heavy=heavy), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = []
    options = ValidateOptions(model=folder, root=made.path.parent)
    account = validate(open_source(made.path, stream=True), options, sink=found.append)
    named = {f.row for f in found if f.severity == "error"}
    assert named == made.bad and all(f.found and f.remedy for f in found)
    assert account.rows == len(made.kinds) and account.errors == len(found) - account.warnings

    corpus, trained = corpus_of(made), []

    def collate(rows):
        """Rows as the model is shown them."""
        trained.extend(row.id for row in rows)
        return collate_rows(processor, rows)

    rows = Rows(corpus, processor, max_tokens=1024)
    choices = FitChoices(
        steps=math.ceil(len(rows) / 32),
        batch_size=32,
        on_bad_media="skip",
        max_bad=1.0,
        save_every=10**6,
        log_every=10**6,
        precision="float32",
    )
    fit(model, rows, choices, tmp_path / "run", collate=collate)
    assert sorted(trained) == sorted(f"row {n}" for n, kind in made.kinds.items() if kind == "good")
    listed = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()]
    bad = {corpus.mixture.place(one["row"])[1] + 1 for one in listed}
    assert {n: made.kinds[n] for n in bad ^ made.bad} == {} and all(one["reason"] for one in listed)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY


def test_without_the_choice_the_first_ends_the_run(toy, tmp_path):
    model, processor, _ = toy
    made = hostile.write(tmp_path / "in", 50, heavy=0)
    rows = Rows(corpus_of(made), processor, max_tokens=1024)
    with pytest.raises(DatasetError, match="cannot be trained on"):
        fit(model, rows, FitChoices(steps=4, batch_size=4, precision="float32"), tmp_path / "run", collate=partial(collate_rows, processor))


@pytest.mark.parametrize("count", [further(3000)])
def test_several_processes_name_the_same(toy, tmp_path, count):
    made = hostile.write(tmp_path / "in", count, heavy=0)
    alone, two = [], []
    for sink, workers in ((alone, 0), (two, 2)):
        validate(open_source(made.path, stream=True), ValidateOptions(workers=workers), sink=sink.append)
    assert alone == two and len(alone) > 0.8 * count
