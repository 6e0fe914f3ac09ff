"""An embedding model as files that other programs run: ONNX for onnxruntime, `.pt2` for PyTorch without this package's code.

One graph for each stream, and one for each space that has several: from what the encoder's `preprocess` gives to the vector of length one.
"""

from unifusion.export.folder import export_model, prepare
from unifusion.export.loss import QuantizedLoss, quantized_loss
from unifusion.export.onnx_files import OnnxGraph
from unifusion.export.pt2 import load_pt2

__all__ = ["OnnxGraph", "QuantizedLoss", "export_model", "load_pt2", "prepare", "quantized_loss"]
