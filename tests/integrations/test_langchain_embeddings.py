"""UniFusionEmbeddings keeps LangChain's contract and gives the embedder's own vectors."""

import numpy as np
import pytest
import torch

from tests.toys import video
from unifusion import catalog
from unifusion.engine.embedder import Embedder
from unifusion.errors import CheckpointError, ConfigError
from unifusion.models.aligner import Aligner, AlignerConfig, AlignerStream

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_tests")

from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from unifusion.integrations.langchain import UniFusionEmbeddings


def toy_embedder():
    """A random embedding model of picture, sound and words."""
    torch.manual_seed(0)
    stems = {"video": "videomae", "audio": "whisper", "text": "bert"}
    streams = {name: AlignerStream(encoder=s, encoder_config=vars(catalog.load("encoders", s).tiny())) for name, s in stems.items()}
    return Embedder(Aligner(AlignerConfig(streams=streams, width=24)), name="toy")


@pytest.fixture(scope="module")
def embedder():
    return toy_embedder()


class Toy:
    """The toy as the parameter that LangChain's suites make the class with."""

    made = None

    @property
    def embeddings_class(self):
        return UniFusionEmbeddings

    @property
    def embedding_model_params(self):
        Toy.made = Toy.made or toy_embedder()
        return {"embedder": Toy.made}


class TestUnit(Toy, EmbeddingsUnitTests):
    """LangChain's own."""


class TestIntegration(Toy, EmbeddingsIntegrationTests):
    """LangChain's own."""


def test_vectors_are_the_embedders_own(embedder):
    embeddings = UniFusionEmbeddings(embedder=embedder)
    texts = ["a dog barks", "someone laughs", "a dog barks"]
    found = np.asarray(embeddings.embed_documents(texts))
    assert np.allclose(found, embedder.embed_texts(texts)) and np.allclose(np.linalg.norm(found, axis=1), 1)
    assert np.allclose(embeddings.embed_query("someone laughs"), found[1], atol=1e-6)
    assert embeddings.embed_documents([]) == [] and embeddings.key == embedder.key


def test_clips_are_in_the_same_space(embedder, tmp_path):
    from PIL import Image

    still = tmp_path / "still.bin"  # what it is follows from its header
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(still, format="PNG")
    embeddings = UniFusionEmbeddings(embedder=embedder)
    silent = video(seed=1, sound=False)
    found = embeddings.embed_media([video(seed=1), silent, still])
    own = embedder.embed([video(seed=1), silent])
    assert len(found) == 3 and all(isinstance(x, float) for x in found[0])
    assert np.allclose(found[:2], [e.vectors["clip"] for e in own], atol=1e-6)
    assert np.allclose(embeddings.embed_media([silent], space="video"), [own[1].vectors["video"]], atol=1e-6)
    with pytest.raises(ConfigError, match="nothing in the space 'audio'"):
        embeddings.embed_media([silent], space="audio")


def test_a_checkpoint_is_loaded_when_it_is_used(tmp_path):
    embeddings = UniFusionEmbeddings(tmp_path / "none")
    with pytest.raises(CheckpointError):
        embeddings.embed_query("x")
