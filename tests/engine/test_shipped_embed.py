"""The embedding model that ships: small, loadable, and of use on what it was never shown."""

import numpy as np
import pytest

from unifusion import catalog, share
from unifusion.conversation import Media
from unifusion.datasets.clip_world import ClipWorld
from unifusion.datasets.esc10 import ESC10
from unifusion.engine.embedder import Embedder
from unifusion.metrics.retrieval_figures import retrieval_figures
from unifusion.metrics.zero_shot_accuracy import zero_shot_accuracy

pytestmark = pytest.mark.skipif("tiny-embed" not in catalog.names("checkpoints"), reason="checkpoints/tiny-embed is not there")


@pytest.fixture(scope="module")
def embedder():
    return Embedder.load("tiny-embed")


def test_it_is_small_and_says_what_it_is(embedder):
    folder = share.folder("checkpoints") / "tiny-embed"
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) <= 20e6
    assert embedder.width == 512 and set(embedder.spaces) == {"video", "audio", "text", "clip"}
    assert 0 < embedder.calibration["threshold"] < 1
    assert "R@k" in (folder / "README.md").read_text(encoding="utf-8")


def test_captions_find_their_clips_of_people_and_seeds_it_never_met(embedder):
    rows = list(ClipWorld(seed=5, split="test_new_people", count=40, per_clip=1))
    clips = np.stack([e.vectors["clip"] for e in embedder.embed([r.media[0] for r in rows])])
    captions = [r.texts["caption"] for r in rows]
    found = retrieval_figures(embedder.embed_texts(captions), clips, np.array([[a == b for b in captions] for a in captions]))
    assert found["recall_at_1"] >= 0.7 and found["recall_at_10"] >= 0.9, found


def test_sounds_are_told_by_their_names(embedder, data):
    rows = list(ESC10(data / "esc10", split="val"))[::2]
    names = sorted({r.labels["sound"] for r in rows})
    vectors = np.stack([e.vectors["clip"] for e in embedder.embed([Media(kind="audio", source=r.media[0].source) for r in rows])])
    assert zero_shot_accuracy(vectors, embedder.embed_texts(names), np.array([names.index(r.labels["sound"]) for r in rows])) >= 0.7
