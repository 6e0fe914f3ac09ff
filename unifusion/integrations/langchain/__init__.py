"""LangChain: embeddings, vector store, retriever and chat model. Needs langchain-core alone: extra `langchain`."""

from unifusion.errors import ConfigError

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise ConfigError("unifusion.integrations.langchain needs langchain-core;", remedy="pip install 'unifusion-x[langchain]'.") from error

from unifusion.integrations.langchain.chat import ChatUniFusion
from unifusion.integrations.langchain.embeddings import UniFusionEmbeddings
from unifusion.integrations.langchain.retriever import UniFusionRetriever, content_block
from unifusion.integrations.langchain.store import UniFusionVectorStore

__all__ = ["ChatUniFusion", "UniFusionEmbeddings", "UniFusionRetriever", "UniFusionVectorStore", "content_block"]
