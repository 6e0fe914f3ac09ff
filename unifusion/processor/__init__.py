"""The processor: conversations in, batches out. It is the collate function."""

from unifusion.processor.augmenting import AugmentingOpener, TwoViews
from unifusion.processor.chat_format import ChatFormat
from unifusion.processor.conversing import Batch, Conversing, Row
from unifusion.processor.opening import MediaOpener, OpenedMedia, StreamItem
from unifusion.processor.processor import UniFusionProcessor
from unifusion.processor.streams import FusedSpec, StreamSpec

__all__ = [
    "AugmentingOpener",
    "Batch",
    "ChatFormat",
    "Conversing",
    "FusedSpec",
    "MediaOpener",
    "OpenedMedia",
    "Row",
    "StreamItem",
    "StreamSpec",
    "TwoViews",
    "UniFusionProcessor",
]
