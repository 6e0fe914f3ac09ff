"""A folder of clips whose content is known, and a library over it."""

import pytest

from tests.retrieval.toys import ToyEmbedder, picture, tone
from unifusion.retrieval.library import Library


@pytest.fixture
def clips(tmp_path):
    """Three stills, two sounds of a second, and one of 15 s: 5 s low, 5 s middle, 5 s high."""
    folder = tmp_path / "clips"
    (folder / "sounds").mkdir(parents=True)
    for colour in ("red", "green", "blue"):
        picture(folder / f"{colour}.png", colour)
    tone(folder / "sounds" / "low.wav", "low")
    tone(folder / "sounds" / "high.wav", "high")
    tone(folder / "sounds" / "long.wav", "low", "middle", "high", seconds=5.0)
    return folder


@pytest.fixture
def embedder():
    return ToyEmbedder()


@pytest.fixture
def made(tmp_path, embedder):
    """Make an empty library."""
    return lambda **options: Library.create(tmp_path / "index", embedder, backend="tests.retrieval.toys:ToyBackend", **options)


@pytest.fixture
def library(made, clips):
    """A library over `clips`: 8 windows."""
    library = made()
    library.index([clips])
    return library
