"""UniFusionRetriever gives windows of clips as documents."""

from dataclasses import dataclass, field

import pytest

from unifusion.errors import ConfigError

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_tests")

from langchain_core.documents import Document
from langchain_tests.integration_tests import RetrieversIntegrationTests

from unifusion.integrations.langchain import UniFusionRetriever, content_block


@dataclass
class Window:
    """As the library gives it."""

    path: str = "/clips/park.mp4"
    kind: str = "video"
    start_s: float = 3.2
    end_s: float = 5.0
    score: float = 0.5
    streams: tuple = ("video", "audio")
    texts: dict = field(default_factory=dict)
    metadata: dict = field(default_factory=dict)


class ToyLibrary:
    """Five windows, whatever is asked; keeps what was."""

    def __init__(self):
        self.asked = []

    def search(self, query, k, where=None):
        self.asked.append((query, k, where))
        windows = [Window(score=0.9 - n / 10, start_s=float(n), end_s=n + 2.0, metadata={"label": "dog"}) for n in range(5)]
        windows[0].texts = {"transcript": "come here", "caption": "a dog"}
        return windows[:k]


class TestRetriever(RetrieversIntegrationTests):
    """LangChain's own."""

    @property
    def retriever_constructor(self):
        return UniFusionRetriever

    @property
    def retriever_constructor_params(self):
        return {"library": ToyLibrary()}

    @property
    def retriever_query_example(self):
        return "a dog barks"


def test_documents_say_where_they_are():
    library = ToyLibrary()
    retriever = UniFusionRetriever(library=library, k=2, where={"label": "dog"}, least_score=0.85)
    (document,) = retriever.invoke("a dog")
    assert document == Document(
        id="/clips/park.mp4#0-2", page_content="come here\na dog",
        metadata={"label": "dog", "path": "/clips/park.mp4", "kind": "video", "start_s": 0.0, "end_s": 2.0, "score": 0.9,
                  "streams": ["video", "audio"]},
    )  # fmt: skip
    retriever.least_score = None
    assert [d.page_content for d in retriever.invoke("a dog", k=3, where={"label": "cat"})][1:] == ["park.mp4 @ 1-3 s", "park.mp4 @ 2-4 s"]
    assert library.asked == [("a dog", 2, {"label": "dog"}), ("a dog", 3, {"label": "cat"})]


def test_a_document_becomes_a_content_block():
    (document,) = UniFusionRetriever(library=ToyLibrary(), k=1).invoke("x")
    assert content_block(document) == {"type": "video", "url": "/clips/park.mp4", "extras": {"start_s": 0.0, "end_s": 2.0}}
    still = Document(page_content="", metadata={"path": "a.png", "start_s": 0.0, "end_s": 0.0})
    assert content_block(still) == {"type": "image", "url": "a.png"}
    with pytest.raises(ConfigError, match="names no file"):
        content_block(Document(page_content="x"))


def test_an_index_is_opened_by_its_folder(tmp_path):
    pytest.importorskip("unifusion.retrieval.library")
    with pytest.raises(ConfigError, match="no index"):
        UniFusionRetriever.from_index(tmp_path)
