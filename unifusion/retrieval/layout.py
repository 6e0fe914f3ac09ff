"""The manifest of a library: whose vectors these are and how its clips are cut; anything else is refused, with the way to mend it.

    INDEX/manifest.json              this
    INDEX/segments/<first>-<last>/   vectors and windows, append-only (`segment.py`): the truth
    INDEX/backends/<space>-../       what is searched, made from the segments and made again where it is missing, old or broken
    INDEX/quarantine.jsonl           files that could not be read
    INDEX/lock                       who writes
"""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from unifusion.atomic import write_text
from unifusion.errors import CheckpointError, ConfigError, nearest
from unifusion.retrieval.embedding import Embeds, files_of

__all__ = ["BackendChoice", "EmbedderFacts", "Manifest", "again", "new_manifest", "read_manifest", "write_manifest"]

FORMAT = "unifusion-library"
VERSION = 1
NORMALISATION = "unit"
PRECISIONS = ("float32", "float16")
_WINDOW_S = 6.0
"""What the shipped embedder was trained on."""
_LEAST_S = 0.1


@dataclass(frozen=True, kw_only=True)
class EmbedderFacts:
    """Whose vectors these are.

    Attributes:
        source: name or path by which it is loaded again.
        files: hash of names, sizes and times of its files.
        strict: a damaged frame is an error for it.
        name, key, width, max_seconds, scale, calibration: as the embedder has them.
    """

    source: str
    files: str
    name: str
    key: str
    width: int
    max_seconds: float
    scale: float
    calibration: Mapping[str, float]
    strict: bool = True

    @staticmethod
    def place(source: str) -> str:
        """A name as it is, wherever it is installed; a path from the root."""
        return str(Path(source).resolve()) if Path(source).exists() else source

    @classmethod
    def of(cls, embedder: Embeds, source: str) -> EmbedderFacts:
        """The facts of one that is loaded."""
        return cls(
            source=cls.place(source), files=files_of(source), name=embedder.name, key=embedder.key, width=int(embedder.width),
            max_seconds=float(embedder.max_seconds), scale=float(embedder.scale), calibration=dict(embedder.calibration),
            strict=bool(getattr(embedder, "strict", True)),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BackendChoice:
    """What searches, and why.

    Attributes:
        name: in the catalog, or `package.module:Class`.
        config: its choices.
        reason: why it.
        fixed: a person chose it, so it stays however the library grows.
    """

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    fixed: bool = False


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What every segment and back end of a library has in common.

    Attributes:
        id: drawn when the library was made; its segments carry it.
        embedder: whose vectors these are.
        window_s, hop_s: length of a window, and from one to the next.
        precision: of the numbers on disk.
        backend: what searches.
        roots: folders and files that were indexed, to name the command that makes all again.
    """

    id: str
    embedder: EmbedderFacts
    window_s: float
    hop_s: float
    precision: str
    backend: BackendChoice
    roots: tuple[str, ...] = ()


def again(folder: Path, roots: Any = ()) -> str:
    """The command that makes a library anew."""
    named = [shlex.quote(r) for r in roots if isinstance(r, str)] if isinstance(roots, list | tuple) else []
    return f"unifusion index {' '.join(named) or 'DIR..'} -o {shlex.quote(str(folder))} --overwrite"


def new_manifest(
    embedder: Embeds, source: str, *, window_s: float | None, hop_s: float | None, precision: str, backend: BackendChoice
) -> Manifest:  # fmt: skip
    """The manifest of a new library.

    Raises:
        ConfigError: windows that the embedder cannot take, or a precision that is none.
    """
    window_s = min(_WINDOW_S, embedder.max_seconds) if window_s is None else window_s
    hop_s = window_s if hop_s is None else hop_s
    if not (_LEAST_S <= window_s <= embedder.max_seconds and hop_s >= _LEAST_S):
        raise ConfigError(
            f"windows of {window_s:g} s every {hop_s:g} s;",
            remedy=f"the embedder takes at most {embedder.max_seconds:g} s at once, and both are at least {_LEAST_S} s.",
        )
    if precision not in PRECISIONS:
        raise ConfigError(f"no precision {precision!r};", remedy=nearest(precision, list(PRECISIONS)))
    facts = EmbedderFacts.of(embedder, source)
    return Manifest(id=secrets.token_hex(8), embedder=facts, window_s=window_s, hop_s=hop_s, precision=precision, backend=backend)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it in one go."""
    told = {"format": FORMAT, "version": VERSION, "normalisation": NORMALISATION, **asdict(manifest)}
    write_text(folder / "manifest.json", json.dumps(told, indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read and check it.

    Raises:
        ConfigError: there is no library.
        CheckpointError: the manifest is damaged, or of another format, version or normalisation; with the command that makes it anew.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise ConfigError(f"no index at {folder};", remedy=f"make one: unifusion index DIR.. -o {shlex.quote(str(folder))}")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read ({error});", remedy=f"make the index anew: {again(folder)}") from error
    roots = raw.get("roots") if isinstance(raw, dict) else ()
    mend = f"make the index anew: {again(folder, roots)}"
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no manifest of a library;", remedy="name the folder that unifusion index wrote.")
    for key, wanted in (("version", VERSION), ("normalisation", NORMALISATION)):
        if raw.get(key) != wanted:
            raise CheckpointError(f"{path}: {key} {raw.get(key)!r}, this release reads {wanted!r};", remedy=mend)
    try:
        return _manifest(raw)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({type(error).__name__}: {error});", remedy=mend) from error


def _manifest(raw: dict[str, Any]) -> Manifest:
    """The manifest of an object.

    Raises:
        KeyError, TypeError, ValueError: something is missing, unknown or of another kind.
    """
    told = {f.name: raw[f.name] for f in fields(Manifest)}
    told["embedder"] = EmbedderFacts(**told["embedder"])
    told["backend"] = BackendChoice(**told["backend"])
    told["roots"] = tuple(told["roots"])
    manifest = Manifest(**told)
    words = (manifest.id, manifest.embedder.key, manifest.embedder.source, manifest.embedder.files, manifest.backend.name, *manifest.roots)
    numbers = (manifest.window_s, manifest.hop_s, manifest.embedder.max_seconds, *manifest.embedder.calibration.values())
    if not all(isinstance(w, str) for w in words) or manifest.precision not in PRECISIONS or not isinstance(manifest.backend.config, dict):
        raise ValueError("a word is none")
    if not all(isinstance(n, int | float) for n in numbers) or not 0 < manifest.embedder.width < 1 << 20:
        raise ValueError("a number is none")
    if not (manifest.window_s > 0 and manifest.hop_s > 0):
        raise ValueError(f"windows of {manifest.window_s} s every {manifest.hop_s} s")
    return manifest
