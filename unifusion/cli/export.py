"""`unifusion export`: an embedding model as files that other programs run."""

from __future__ import annotations

import enum
import json as jsons
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unifusion.cli import common

if TYPE_CHECKING:
    from unifusion.conversation import Media

__all__ = ["export"]


class _Format(enum.StrEnum):
    onnx = "onnx"
    pt2 = "pt2"


Model = Annotated[str, typer.Option("--model", metavar="DIR", help="Folder of an embedding model, or one that ships.")]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for the graphs, export.json and README.md.")]
Kind = Annotated[_Format, typer.Option("--format", help="onnx for onnxruntime, pt2 for torch.export.load.")]
Int8 = Annotated[bool, typer.Option("--int8", help="Write each ONNX file in int8 beside it, too.")]
Stream = Annotated[
    list[str] | None, typer.Option("--stream", metavar="NAME", help="Write these streams alone; repeatable.", show_default=False)
]
_PAIRS = 'Rows of a path and a "caption": graphs are held against those clips, and with --int8 the loss in recall is measured.'
Pairs = Annotated[Path | None, typer.Option("--measure", metavar="PAIRS.jsonl", help=_PAIRS, show_default=False)]


def export(
    out: Out,
    model: Model = "tiny-embed",
    format: Kind = _Format.onnx,
    int8: Int8 = False,
    stream: Stream = None,
    measure: Pairs = None,
    json: common.Json = False,
) -> None:
    """Write an embedding model as ONNX or .pt2: a graph for each stream, from prepared inputs to the vector of length one.

    Each is held against PyTorch at batches of 1, 2 and 5 before it is kept.
    """
    with common.quiet_stdout():
        common.quiet_libraries()
        from unifusion.atomic import write_text
        from unifusion.engine.embedder import Embedder
        from unifusion.export import export_model, quantized_loss

        if measure is not None and int8 and stream:
            raise typer.BadParameter("--measure with --int8 goes without --stream: recall takes words and clips.")
        clips, captions = _pairs(measure)
        embedder = Embedder.load(model)
        told = export_model(embedder, out, format=format.value, int8=int8, streams=stream or (), clips=clips[:8])
        if int8 and clips:
            told["int8_loss"] = quantized_loss(out, embedder, clips, captions).to_dict()
            write_text(out / "export.json", jsons.dumps(told, indent=1) + "\n")
    if json:
        common.print_json({"out": str(out), **told})
        return
    for graph in told["graphs"].values():
        typer.echo(_line(graph))
    if "int8_loss" in told:
        typer.echo(_lost(told["int8_loss"]))
    common.note(f"{out}: see README.md there")


def _pairs(path: Path | None) -> tuple[list[Media], list[str]]:
    """Clips and captions of a manifest.

    Raises:
        DatasetError: a row without a caption, or not as the format says.
    """
    from unifusion.errors import DatasetError
    from unifusion.evaluation.manifest import read_manifest

    rows = read_manifest(path) if path is not None else []
    for row in rows:
        if not isinstance(row.fields.get("caption"), str) or not row.clips.files:
            raise DatasetError(f"{path}: row {row.id} has no clip or no caption;", remedy='write {"path": "a.mp4", "caption": "a dog"}.')
    return [row.clip(0) for row in rows], [str(row.fields["caption"]) for row in rows]


def _line(graph: dict[str, Any]) -> str:
    """One graph for people."""
    small = f", int8 {graph['int8']['bytes'] / 1e6:.1f} MB" if "int8" in graph else ""
    far = graph["parity"]["max_abs"]
    return f"{graph['file']}: space {graph['space']}, {graph['bytes'] / 1e6:.1f} MB{small}, at most {far:.1e} from PyTorch"


def _lost(told: dict[str, Any]) -> str:
    """What int8 costs, for people."""
    both = [f"R@{k} {told['float32']['text_to_clip'][f'r{k}']:.3f} -> {told['int8']['text_to_clip'][f'r{k}']:.3f}" for k in (1, 10)]
    return f"int8 over {told['pairs']} pairs, text to clip: {', '.join(both)}; mean cosine {told['mean_cosine']['clip']:.4f}"
