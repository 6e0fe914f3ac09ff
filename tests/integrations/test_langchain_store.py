"""UniFusionVectorStore keeps LangChain's contract over every back end, and its folder is read without trust."""

import importlib.util
import json

import numpy as np
import pytest

from tests.toys import video
from unifusion import catalog
from unifusion.errors import CheckpointError, ConfigError

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_tests")

from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from unifusion.integrations.langchain import UniFusionVectorStore, content_block

LIBRARIES = {"chroma": "chromadb", "qdrant": "qdrant_client", "faiss": "faiss"}
"""What back ends need, by the first word of their name."""
NEEDS = {name: LIBRARIES.get(name.split("_")[0]) for name in catalog.names("backends")}
BACKENDS = [name for name, need in NEEDS.items() if need is None or importlib.util.find_spec(need)]


def embedding():
    return DeterministicFakeEmbedding(size=6)


if not BACKENDS:
    pytest.skip("no back end can be imported", allow_module_level=True)


class TestStore(VectorStoreIntegrationTests):
    """LangChain's own."""

    @pytest.fixture(params=BACKENDS)
    def vectorstore(self, request):
        return UniFusionVectorStore(self.get_embeddings(), backend=request.param)


@pytest.fixture(params=BACKENDS)
def store(request):
    texts = ["dog", "cat", "hen", "cow"]
    metadatas = [{"legs": 4, "tags": ["a"]}, {"legs": 4}, {"legs": 2, "flies": True}, {"legs": 4, "horns": {"n": 2}}]
    return UniFusionVectorStore.from_texts(texts, embedding(), metadatas, ids=list("abcd"), backend=request.param)


def test_scores_are_cosines_and_filters_choose(store):
    a, b = (np.asarray(embedding().embed_query(t)) for t in ("dog", "hen"))
    (first, one), *rest = store.similarity_search_with_score("dog", k=4)
    assert first == Document(id="a", page_content="dog", metadata={"legs": 4, "tags": ["a"]}) and one == pytest.approx(1, abs=1e-5)
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert {d.id: s for d, s in rest}["c"] == pytest.approx(cosine, abs=1e-5)
    assert [d.id for d in store.similarity_search("dog", k=4, filter={"legs": {"$lt": 4}})] == ["c"]
    assert [d.id for d in store.similarity_search_by_vector(b.tolist(), k=1)] == ["c"]
    assert {d.id for d in store.similarity_search("dog", k=9, filter={"flies": {"$ne": True}})} == set("abd")
    assert all(0 <= r <= 1 for _, r in store.similarity_search_with_relevance_scores("dog", k=4))
    assert [d.id for d in store.as_retriever(search_kwargs={"k": 1}).invoke("hen")] == ["c"]


def test_what_is_given_back_is_a_copy(store):
    store.get_by_ids(["a"])[0].metadata["legs"] = 17
    store.similarity_search("dog", k=1)[0].metadata.clear()
    assert store.get_by_ids(["a"])[0].metadata["legs"] == 4


def test_marginal_relevance_takes_what_differs(store):
    store.add_texts(["dog"] * 3, ids=["e", "f", "g"])
    found = [d.page_content for d in store.max_marginal_relevance_search("dog", k=3, fetch_k=7, lambda_mult=0.1)]
    assert found[0] == "dog" and len(set(found)) == 3
    assert [d.page_content for d in store.similarity_search("dog", k=3)] == ["dog"] * 3


def test_an_id_given_twice_counts_once_and_all_can_be_deleted(store):
    assert store.add_texts(["old", "new"], ids=["x", "x"]) == ["x", "x"]
    assert len(store) == 5 and store.get_by_ids(["x"])[0].page_content == "new"
    assert store.delete(["x", "none"]) is True and len(store) == 4
    store.delete()
    assert len(store) == 0 and store.similarity_search("dog") == []
    assert store.add_texts([]) == []


def test_a_saved_store_is_the_same_store(store, tmp_path):
    store.delete(["b"])
    store.save(tmp_path / "store")
    for rebuild in (False, True):
        again = UniFusionVectorStore.load(tmp_path / "store", embedding(), rebuild=rebuild)
        for k in (1, 4):
            wanted = store.similarity_search_with_score("hen", k)
            found = again.similarity_search_with_score("hen", k)
            assert [d for d, _ in found] == [d for d, _ in wanted]
            assert [s for _, s in found] == pytest.approx([s for _, s in wanted], abs=1e-5)
        (name,) = again.add_texts(["owl"], [{"legs": 2}])
        assert again.similarity_search("owl", k=1)[0].id == name and len(again) == 4
        again.delete(["a"])
    again.save(tmp_path / "store")
    assert len(UniFusionVectorStore.load(tmp_path / "store", embedding())) == 3


def test_an_empty_store_is_saved(tmp_path):
    UniFusionVectorStore(embedding(), backend=BACKENDS[0]).save(tmp_path / "store")
    again = UniFusionVectorStore.load(tmp_path / "store", embedding())
    assert again.similarity_search("x") == [] and again.add_texts(["x"]) and len(again) == 1


def test_a_folder_that_is_not_as_it_was_is_refused(store, tmp_path):
    folder = tmp_path / "store"
    store.save(folder)

    class Other(DeterministicFakeEmbedding):
        key: str = "another"

    with pytest.raises(CheckpointError, match="of other embeddings"):
        UniFusionVectorStore.load(folder, Other(size=6))
    for name in ("store.json", "documents.jsonl", "vectors.safetensors"):
        whole = (folder / name).read_bytes()
        for damaged in (whole[: len(whole) // 2], b"", b"\x80\x04cos\nsystem\n", whole[:-4] + b"\x00\x00\xc0\x7f"):
            (folder / name).write_bytes(damaged)
            with pytest.raises(CheckpointError):
                UniFusionVectorStore.load(folder, embedding())
        (folder / name).write_bytes(whole)
    facts = json.loads((folder / "store.json").read_text())
    for change in ({"backend": "os:system"}, {"version": 2}, {"config": 3}, {"width": 7}, {"next": 1}, {"count": 3}):
        (folder / "store.json").write_text(json.dumps(facts | change))
        with pytest.raises(CheckpointError):
            UniFusionVectorStore.load(folder, embedding())


def test_mistakes_are_told(store, tmp_path):
    with pytest.raises(ConfigError, match="no backend named 'fais'"):
        UniFusionVectorStore(embedding(), backend="fais")
    with pytest.raises(ConfigError, match="choices of"):
        UniFusionVectorStore(embedding(), backend=BACKENDS[0], config={"no_such": 1}).add_texts(["x"])
    with pytest.raises(ConfigError, match="give one of each"):
        store.add_texts(["x"], [{}, {}])
    with pytest.raises(ConfigError, match="makes no vectors of clips"):
        store.add_media([video()])
    store.add_texts(["x"], [{"made": object()}])
    with pytest.raises(ConfigError, match="as JSON"):
        store.save(tmp_path / "store")
    assert not (tmp_path / "store").exists()


class Both(DeterministicFakeEmbedding):
    """Also vectors of clips."""

    def embed_media(self, media, *, space="clip"):
        return self.embed_documents([getattr(m, "name", str(m)) for m in media])


def test_clips_are_documents_too():
    store = UniFusionVectorStore(Both(size=6), backend=BACKENDS[0])
    span = video(seconds=2.0).__class__(kind="video", source="talk.mp4", start_s=1.0, end_s=2.5, transcript="good morning")
    store.add_media([span, "bark.wav"], [{"label": "talk"}, {"label": "dog"}], ids=["t", "b"])
    talk, bark = store.get_by_ids(["t", "b"])
    assert talk.page_content == "good morning" and bark.page_content == "bark.wav"
    assert talk.metadata == {"label": "talk", "path": "talk.mp4", "start_s": 1.0, "end_s": 2.5}
    assert content_block(talk) == {"type": "video", "url": "talk.mp4", "extras": {"start_s": 1.0, "end_s": 2.5}}
    assert content_block(bark) == {"type": "video", "url": "bark.wav"}
    assert store.similarity_search("bark.wav", k=1)[0].id == "b"
