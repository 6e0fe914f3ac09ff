"""What to do about it: the remedies that several errors share."""

from __future__ import annotations

__all__ = ["CONVERT", "FEWER", "LENIENT", "SHORTER"]

CONVERT = "the file is damaged or cut off: record or convert it again."
LENIENT = "the file is damaged or cut off: mend it, or read it with strict=False to get what can be decoded."
SHORTER = "give start_s and end_s of a shorter span."
FEWER = "ask for fewer frames (max_frames, a lower rate) or set max_side_px."
