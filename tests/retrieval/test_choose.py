"""The back end that fits a number of vectors, and the sentence that says why."""

import pytest

from unifusion import catalog
from unifusion.errors import ConfigError
from unifusion.retrieval.choose import choose

GB = 10**9


@pytest.mark.parametrize(
    "count, options, name, mapped, part",
    [
        (0, {}, "exact", False, "0 vectors"), (20_000, {}, "exact", False, "one by one"),
        (20_000, {"available": []}, "exact", False, "41 MB"),
        (100_000, {}, "faiss_pq", False, "205 MB"), (100_000, {"exact": True}, "exact", False, "no neighbour may be missed"),
        (100_000, {"available": []}, "exact", False, "unifusion-x[retrieval]"), (3_000_000, {}, "faiss_pq", False, "6.14 GB"),
        (3_000_000, {"memory_bytes": 4 * GB}, "faiss_pq", True, "stay in their file, since the machine has 4 GB"),
        (3_000_000, {"memory_bytes": 4 * GB, "exact": True}, "exact", True, "stay in their file"),
        (10_000_000, {"memory_bytes": 64 * GB}, "faiss_ivf", False, "lists"),
        (10_000_000, {"memory_bytes": 2 * GB}, "faiss_binary", True, "misses more"),
    ],
)  # fmt: skip
def test_size_memory_and_library_choose(count, options, name, mapped, part):
    chosen = choose(count, 512, **{"memory_bytes": 16 * GB, "available": ["faiss"], **options})
    assert (chosen.name, chosen.config) == (name, {"mapped": True} if mapped else {})
    assert chosen.reason.startswith(name) and part in chosen.reason and chosen.reason.endswith(".") and "\n" not in chosen.reason


def test_what_is_chosen_can_be_made():
    for count in (10, 10**5, 10**7):
        chosen = choose(count, 64)
        if chosen.name != "exact":
            pytest.importorskip("faiss")
        cls = catalog.load("backends", chosen.name)
        assert len(cls(64, cls.Config(**chosen.config))) == 0


def test_what_fits_nowhere_is_said():
    with pytest.raises(ConfigError, match="qdrant"):
        choose(10**9, 512, memory_bytes=8 * GB, available=["faiss"])
    with pytest.raises(ConfigError):
        choose(-1, 512)
