"""Chroma's client, folder and filters, for the back end `chroma`."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from unifusion.errors import ConfigError
from unifusion.retrieval.backends._conditions import Condition, Group, Scalar, Tree, kinds
from unifusion.retrieval.backends._stores import secret, speaking
from unifusion.retrieval.backends.backend import Row

__all__ = ["Home", "connect", "copied", "faults", "library", "stored", "translated"]

_RUST = "chromadb.api.rust.RustBindingsAPI"
"""The client that reads Chroma's folders without Python's pickle."""


class Home:
    """A private folder with at most one open client."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="unifusion-chroma-"))
        self.client: Any = None
        self._process = os.getpid()

    def open(self) -> Any:
        """Open the folder."""
        chromadb = library()
        self.client = chromadb.PersistentClient(str(self.path), settings=settings(chroma_api_impl=_RUST))
        return self.client

    def close(self) -> None:
        """Let go of all files."""
        if self.client is not None:
            self.client.close()
            self.client = None

    def remove(self) -> None:
        """Delete the folder; a forked child leaves it to its parent."""
        if os.getpid() == self._process:
            self.close()
            shutil.rmtree(self.path, ignore_errors=True)


def library() -> Any:
    """The library.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import chromadb
    except ImportError as error:
        raise ConfigError("the back end chroma needs chromadb;", remedy="pip install 'unifusion-x[chroma]'.") from error
    return chromadb


def settings(**options: Any) -> Any:
    """Settings without telemetry that no .env file of the working directory changes."""
    library()
    from chromadb.config import Settings

    return Settings(_env_file=None, anonymized_telemetry=False, **options)


def faults() -> tuple[type[Exception], ...]:
    """What Chroma and the connection to it raise."""
    library()
    import httpx
    from chromadb.errors import ChromaError

    return ChromaError, httpx.HTTPError, ValueError, TypeError, RuntimeError, OSError


def connect(config: Any) -> Any:
    """A client of the server that `Chroma.Config` names.

    Raises:
        ConfigError: it does not answer.
    """
    if config.token_header not in ("Authorization", "X-Chroma-Token"):
        raise ConfigError(f"token_header is {config.token_header!r};", remedy="take Authorization or X-Chroma-Token.")
    token = secret(config.token_variable)
    headers = {config.token_header: f"Bearer {token}" if config.token_header == "Authorization" else token} if token else None
    remedy = "start one with `chroma run --path FOLDER --port PORT`, or leave host out to keep the vectors in a folder."
    with speaking(faults(), ConfigError, f"no Chroma server answers at {config.host}:{config.port}", remedy):
        return library().HttpClient(config.host, config.port, ssl=config.ssl, headers=headers, settings=settings())


def copied(source: Path, target: Path) -> dict[str, str]:
    """Copy a folder's files and return the SHA-256 of each by its name."""
    found = {}
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        name = path.relative_to(source)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with path.open("rb") as read, (target / name).open("wb") as write:
            while piece := read.read(1 << 20):
                digest.update(piece)
                write.write(piece)
        found[name.as_posix()] = digest.hexdigest()
    return found


def _number(value: Scalar) -> Scalar:
    """A number as a float; anything else as it is."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def stored(row: Row) -> dict[str, Any] | None:
    """Metadata as Chroma takes it: no empty mapping."""
    return {field: _number(value) for field, value in row.items()} or None


def translated(tree: Tree) -> dict[str, Any] | bool:
    """Chroma's filter; True where every row matches, False where none does."""
    if isinstance(tree, Group):
        parts = [translated(part) for part in tree.parts]
        if (not tree.every) in parts or not parts:  # `or` with a true part, `and` with a false one
            return not tree.every if parts else tree.every
        kept = [part for part in parts if not isinstance(part, bool)]
        return tree.every if not kept else kept[0] if len(kept) == 1 else {"$and" if tree.every else "$or": kept}
    if tree.operator in ("$in", "$nin"):
        return _listed(tree)
    return {tree.field: {tree.operator: _number(tree.value)}}


def _listed(condition: Condition) -> dict[str, Any] | bool:
    """$in and $nin: Chroma wants values of one kind in a list, and no empty one."""
    lists = [{condition.field: {condition.operator: values}} for values in kinds(condition.value) if values]
    inside = condition.operator == "$in"
    if not lists:
        return not inside
    return lists[0] if len(lists) == 1 else {"$or" if inside else "$and": lists}
