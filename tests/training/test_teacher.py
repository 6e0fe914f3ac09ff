"""What a teacher makes of rows is found by the row's clip and text, not by its id alone."""

from dataclasses import replace

import pytest
import torch

from tests.models.test_aligner import ROWS, model
from unifusion.models.aligner_files import save_aligner
from unifusion.training.kept import row_key
from unifusion.training.teacher import WORDS, Teacher


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    save_aligner(model(), folder / "model", provenance={"recipe": "random"})
    return Teacher(str(folder / "model"))


def test_rows_of_two_sets_with_one_id_keep_what_is_theirs(teacher, tmp_path):
    here, there = (replace(row, id="0001") for row in ROWS[:2])
    rows, texts = [here, there, here, here], ["a dog", "a cat", "it rains", "a dog"]
    found = teacher.teach(rows, texts, tmp_path)
    assert len(found.place) == 3
    vectors = found.of([row_key(r) for r in rows], texts)
    assert vectors["clip"].shape == (4, 16) and not torch.allclose(vectors["clip"][0], vectors["clip"][1], atol=1e-3)
    torch.testing.assert_close(vectors["clip"][0], vectors["clip"][2], atol=1e-5, rtol=0)  # of one media file, twice in a batch
    assert not torch.allclose(vectors[WORDS][0], vectors[WORDS][2], atol=1e-3)
    for k, (row, text) in enumerate(zip(rows, texts, strict=True)):
        alone = teacher.teach([row], [text], tmp_path / str(k)).vectors
        for name, value in vectors.items():
            torch.testing.assert_close(value[k], torch.from_numpy(alone[name][0]), atol=1e-5, rtol=0)
    again = teacher.teach(rows[::-1], texts[::-1], tmp_path)
    torch.testing.assert_close(again.of([row_key(there)], ["a cat"])["clip"][0], vectors["clip"][1])
