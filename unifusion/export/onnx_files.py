"""ONNX: a traced graph as a file, smaller in int8, and run by onnxruntime."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unifusion.errors import CheckpointError, ConfigError
from unifusion.export.graph import Graph, reason

__all__ = ["OnnxGraph", "packages", "quantize", "write_onnx"]

_ONE_FILE = 1 << 30
"""Bytes of weights that still go into the file itself; protobuf ends at two gibibytes."""
_OPERATORS = ("MatMul", "Gemm")
"""What is computed in int8. Convolutions stay in float32: onnxruntime runs them on int8 weights on few processors."""


def packages() -> tuple[Any, Any]:
    """Import onnx and onnxruntime.

    Raises:
        ConfigError: one is not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx asks for it, with a less clear word
    except ImportError as error:
        found = f"the package {error.name or 'onnx'}, by which ONNX is written and run, is not installed;"
        raise ConfigError(found, remedy="pip install 'unifusion-x[export]'.") from error
    return onnx, onnxruntime


def write_onnx(graph: Graph, program: torch.export.ExportedProgram, path: Path) -> None:
    """Write a traced graph. Names of the machine's files, which torch notes at every node, are left out.

    Raises:
        ConfigError: an operation that ONNX does not have; the encoder is named.
    """
    onnx, _ = packages()
    names = [i.name for i in graph.plan.inputs]
    try:
        with _quiet():
            made: Any = torch.onnx.export(program, dynamo=True, input_names=names, output_names=["vector"], verbose=False)
    except Exception as error:  # torch.onnx has no class of its own for all that it cannot write
        found = f"stream {graph.told} cannot be written as ONNX: {reason(error)};"
        raise ConfigError(found, remedy="take --format pt2.") from error
    proto = made.model_proto
    if [i.name for i in proto.graph.input] != names:
        found = f"torch.onnx gave the inputs {[i.name for i in proto.graph.input]}, wanted {names};"
        raise ConfigError(found, remedy="install the versions of constraints.txt.")
    _plain(graph, proto)
    size = sum(p.numel() * p.element_size() for p in graph.parameters())
    onnx.save(proto, str(path), save_as_external_data=size > _ONE_FILE, location=f"{path.name}.data")


def _plain(graph: Graph, proto: Any) -> None:
    """Name the free axes and take out what is of no use to who runs it."""
    named = {}
    for given, value in zip(graph.plan.inputs, proto.graph.input, strict=True):
        for size, axis in zip(given.shape, value.type.tensor_type.shape.dim, strict=True):
            if isinstance(size, str):
                named[axis.dim_param] = size
                axis.dim_param = size
    for value in proto.graph.output:
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = named.get(axis.dim_param, axis.dim_param)
    del proto.graph.value_info[:]
    del proto.metadata_props[:]
    del proto.graph.metadata_props[:]
    for holder in (proto.graph, *proto.functions):
        for node in holder.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what torch.onnx and its optimiser say of folds that they tried and left."""
    loggers = [logging.getLogger(n) for n in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in before:
            logger.setLevel(level)


def quantize(source: Path, target: Path) -> None:
    """Write a file whose matrices are int8: a scale for each, and inputs scaled as they come (onnxruntime's dynamic quantisation)."""
    packages()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().addFilter(_not_advice)
    try:
        quantize_dynamic(str(source), str(target), op_types_to_quantize=list(_OPERATORS), weight_type=QuantType.QInt8)
    finally:
        logging.getLogger().removeFilter(_not_advice)


def _not_advice(record: logging.LogRecord) -> bool:
    """Pass everything but the advice to preprocess, which an optimised graph does not need."""
    return "pre-process" not in record.getMessage()


class OnnxGraph:
    """A graph in onnxruntime, on the CPU.

    Args:
        path: of an `.onnx` file that `export_model` wrote.

    Raises:
        CheckpointError: it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        _, runtime = packages()
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        try:
            self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's classes are of a private module
            why = str(error).splitlines()[0]
            raise CheckpointError(f"{path} cannot be run by onnxruntime: {why};", remedy="export it again.") from error

    @property
    def shapes(self) -> dict[str, list[int | str]]:
        """What it takes: name -> sizes, and names of axes that may have any."""
        return {i.name: list(i.shape) for i in self.session.get_inputs()}

    def __call__(self, given: Mapping[str, np.ndarray]) -> np.ndarray:
        """Vectors (B, D) of prepared inputs."""
        found: np.ndarray = self.session.run(["vector"], dict(given))[0]
        return found
