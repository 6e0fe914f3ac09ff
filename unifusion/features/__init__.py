"""The content-addressed store of frozen-encoder outputs: encoded once, read by training, evaluation and chat.

A key is the sha256 of (media bytes and span, encoder weights, preprocessing choices); names and places of files do not enter it.
"""

from unifusion.features.encode import Encoded, EncodeOptions, encode_all, encode_todo
from unifusion.features.keys import encoder_key, media_key
from unifusion.features.opener import StoredOpener, stored_opener
from unifusion.features.store import FeatureStore

__all__ = [
    "EncodeOptions",
    "Encoded",
    "FeatureStore",
    "StoredOpener",
    "encode_all",
    "encode_todo",
    "encoder_key",
    "media_key",
    "stored_opener",
]
