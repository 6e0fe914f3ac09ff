"""Maps put what is alike side by side; gaps and similarities are what their names say."""

import importlib.util

import numpy as np
import pytest

from tests.evaluation.embedders import direction_of, unit
from unifusion.errors import ConfigError
from unifusion.evaluation import space_map
from unifusion.evaluation.retrieval_spaces import Entries
from unifusion.evaluation.space_map import check_maps, evenly, gaps, map_points, similarity


def heaps(each=20, width=16, noise=0.2):
    """Three heaps of vectors."""
    rng = np.random.default_rng(0)
    names = np.repeat(["a", "b", "c"], each)
    return names, np.array([unit(direction_of(n, width) + noise * rng.normal(size=width) / 4) for n in names])


def entries(vectors, space="clip", owners=None):
    named, own = tuple(f"{space} {i}" for i in range(len(vectors))), tuple((i,) for i in range(len(vectors)))
    return Entries(space=space, names=named, vectors_ND=np.asarray(vectors, np.float32), owners=owners or own)


@pytest.mark.parametrize("method", ["pca", "tsne", pytest.param("umap", marks=pytest.mark.slow)])
def test_neighbours_stay_neighbours_and_a_seed_is_a_picture(method):
    if method == "umap":
        pytest.importorskip("umap")
    names, vectors = heaps()
    points = map_points(vectors, method, seed=1)
    assert points.shape == (60, 2) and points.dtype == np.float64
    np.testing.assert_array_equal(points, map_points(vectors, method, seed=1))
    nearest = [np.argsort(((points - p) ** 2).sum(1))[1] for p in points]
    assert np.mean(names[nearest] == names) > 0.95


def test_pca_is_sklearns_and_does_not_flip():
    from sklearn.decomposition import PCA

    _, vectors = heaps()
    ours, theirs = map_points(vectors, "pca"), PCA(2).fit_transform(vectors.astype(np.float64))
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-9)
    np.testing.assert_allclose(map_points(vectors[::-1], "pca"), ours[::-1], atol=1e-9)
    assert map_points(vectors[:1], "pca").tolist() == [[0.0, 0.0]]


def test_maps_that_cannot_be_made(monkeypatch):
    with pytest.raises(ConfigError, match="did you mean 'tsne'"):
        check_maps(["tsn"])
    with pytest.raises(ConfigError, match="give at least 5"):
        map_points(np.eye(4), "tsne")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("umap", "sklearn") else object())
    for method, extra in (("umap", "maps"), ("tsne", "eval")):
        with pytest.raises(ConfigError, match=rf"unifusion-x\[{extra}\]"):
            check_maps([method])
    check_maps(["pca"])


def test_gaps_are_distances_of_means():
    up, across = np.tile([1.0, 0.0], (4, 1)), np.array([[0.0, 1.0], [0.0, -1.0]])
    found = gaps({"video": entries(up), "audio": entries(across)})
    assert found["spaces"]["video"] == {"things": 4, "mean_length": 1.0} and found["spaces"]["audio"]["mean_length"] == 0.0
    assert found["pairs"] == [{"a": "audio", "b": "video", "gap": 1.0}]


def test_similarity_is_sorted_by_label_and_pairs_items():
    vectors = np.eye(4)
    texts = entries(vectors[[3, 0, 1, 2]], "text", owners=((3,), (0,), (1,), (2,)))
    found = similarity(entries(vectors), texts, ["b", "", "a", "b"])
    assert found["labels"] == ["a", "b", "b", ""] and found["names"] == ["clip 2", "clip 0", "clip 3", "clip 1"]
    assert found["cosines"] == np.eye(4).tolist(), "an item's caption stands where the item does"
    assert len(similarity(entries(vectors), texts, ["b", "", "a", "b"], most=2)["cosines"]) == 2
    shared = entries(vectors[:2], "text", owners=((0, 1), (2, 0)))
    assert similarity(entries(vectors), shared, list("abcd"))["labels"] == ["a", "c"], "a thing stands for its first item"


def test_evenly():
    assert evenly(3, 5).tolist() == [0, 1, 2] and evenly(10, 4).tolist() == [0, 2, 5, 7] and space_map.METHODS == ("pca", "tsne", "umap")
