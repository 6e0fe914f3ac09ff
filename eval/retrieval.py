"""Suite: an embedding model on any set: retrieval in all directions, zero-shot classes, a linear probe, maps of its space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unifusion.cli import script
from unifusion.cli.common import device_of, quiet_libraries
from unifusion.evaluation.retrieval import Asked, evaluate_retrieval
from unifusion.evaluation.retrieval_figures import Draws
from unifusion.evaluation.retrieval_report import statement, write_retrieval
from unifusion.evaluation.retrieval_rows import read_items
from unifusion.training.choices import as_dict, parse


@dataclass(frozen=True, kw_only=True)
class Choices:
    """One embedding model on one set."""

    out: str
    """Folder of the report (also -o); vectors are kept in it, so that a second run embeds only what is new."""
    model: str = "tiny-embed"
    """Folder of an embedding checkpoint, or the name of one that ships."""
    data: str = "."
    """A manifest (.jsonl), a YAML file of sources, or what --dataset reads."""
    dataset: str | None = None
    data_root: str | None = None
    options: dict[str, object] | None = None
    split: str = "test"
    most: int = 0
    """Rows, evenly from the whole split; 0 for all."""
    labels: tuple[str, ...] | None = None
    """Classes to tell and to colour maps by, such as sound,emotion; by default those that the rows have; "" for none."""
    templates: tuple[str, ...] | None = None
    """Prompts for classes, {} for the class; those with a comma go into --config."""
    probe_split: str | None = None
    """Also train a linear probe on the vectors of this split (train)."""
    rescore: bool = False
    """Also score by dual softmax and inverted softmax, which see all queries at once, in lines of their own."""
    maps: tuple[str, ...] = ("pca", "tsne")
    """pca, tsne, umap; "" for none."""
    ks: tuple[int, ...] = (1, 5, 10)
    """Cut-offs of recall."""
    k: int = 10
    """Cut-off of mAP and nDCG."""
    resamples: int = 1000
    seed: int = 0
    batch_size: int = 8
    workers: int = 0
    """Threads that decode ahead."""
    device: str = ""
    """Such as cpu or cuda; a GPU where there is one."""


def main(argv: Sequence[str] | None = None) -> None:
    """Embed the split's rows, measure and write the report."""
    c = parse(Choices, argv, prog="unifusion eval retrieval")
    quiet_libraries()
    from unifusion.engine.embedder import Embedder  # after the choices are known to be good: it brings torch

    read = {"dataset": c.dataset, "root": c.data_root, "options": c.options, "most": c.most}
    items = read_items(c.data, c.split, **read)
    train = read_items(c.data, c.probe_split, **read) if c.probe_split else []
    draws = Draws(ks=c.ks, k=c.k, resamples=c.resamples, seed=c.seed)
    asked = Asked(labels=c.labels, templates=c.templates, rescore=c.rescore, maps=c.maps, draws=draws)
    embedder = Embedder.load(c.model, device=device_of(c.device))
    told = evaluate_retrieval(embedder, items, c.out, asked, train=train, batch_size=c.batch_size, workers=c.workers)
    left_out = ("out", "batch_size", "workers", "device")
    meta = {k: v for k, v in as_dict(c).items() if k not in left_out and v is not None}
    page = write_retrieval(told, Path(c.out), f"{c.model} on {c.dataset or c.data}, {c.split}", meta)
    print("\n".join([*statement(told.results), str(page)]))


if __name__ == "__main__":
    script(main)
