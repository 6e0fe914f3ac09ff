"""`data sample`: a few rows with their clips, the same each time, read at once by others."""

import json

import numpy as np
import pytest
import soundfile

from tests.curation.test_validating import jsonl
from unifusion.curation.sampling import sample
from unifusion.curation.source import open_source
from unifusion.curation.validating import validate
from unifusion.datasets.messages import Messages
from unifusion.errors import ConfigError, DatasetError
from unifusion.evaluation.manifest import read_manifest


@pytest.fixture
def rows(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(12):
        soundfile.write(folder / f"{n}.wav", np.full(1600, n / 20), 16_000)
    lines = [{"id": f"r{n}", "path": f"{n % 14}.wav", "emotion": ("joy", "anger", "fear")[n % 3], "end_s": 0.05} for n in range(40)]
    return jsonl(folder, *lines)


def test_rows_and_clips_are_copied(rows, tmp_path):
    done = sample(open_source(rows), tmp_path / "out", count=10)
    got, whole = list(Messages(tmp_path / "out" / "rows.jsonl")), {r.id: r for r in Messages(rows)}
    assert done.rows == len(got) == 10 and done.files == len(list((tmp_path / "out" / "media").iterdir())) <= 10
    for row in got:
        assert row.labels == whole[row.id].labels and row.media[0].end_s == 0.05
        assert open(row.media[0].source, "rb").read() == open(whole[row.id].media[0].source, "rb").read()
    assert len(read_manifest(tmp_path / "out" / "rows.jsonl")) == 10
    assert validate(open_source(tmp_path / "out" / "rows.jsonl", task="emotion", stream=True)).errors == 0


def test_the_same_rows_whatever_else_is_there(rows, tmp_path):
    sample(open_source(rows), tmp_path / "a", count=5)
    rows.write_text("".join(reversed(rows.read_text().splitlines(keepends=True))))
    sample(open_source(rows), tmp_path / "b", count=5)
    sample(open_source(rows), tmp_path / "c", count=5, seed=1)
    ids = [[json.loads(line)["id"] for line in (tmp_path / n / "rows.jsonl").read_text().splitlines()] for n in "abc"]
    assert ids[0] == ids[1] != ids[2]


def test_as_many_of_each_label(rows, tmp_path):
    done = sample(open_source(rows), tmp_path / "out", count=4, per_label="emotion")
    assert done.labels == {"anger": 4, "fear": 4, "joy": 4}


def test_what_cannot_be_taken(rows, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(ConfigError, match="is there already"):
        sample(open_source(rows), tmp_path / "full")
    with pytest.raises(ConfigError, match=r"more than 0\.001 MB"):
        sample(open_source(rows), tmp_path / "big", max_mb=0.001)
    with pytest.raises(DatasetError, match="no row has 'emotoin'; did you mean 'emotion'"):
        sample(open_source(rows), tmp_path / "none", per_label="emotoin")
    assert not (tmp_path / "big").exists() and not list(tmp_path.glob(".*tmp"))
