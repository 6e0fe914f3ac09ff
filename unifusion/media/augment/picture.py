"""Changes to the picture, the same for all frames of a clip, and the crop in time, which takes picture and sound alike.

Sizes change by cropping alone: the encoder's own preprocessing resizes, so a crop and its resize are that of random resized crops.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unifusion.conversation import Clip

__all__ = ["color_jitter", "crop_frames", "crop_time", "permute_frames"]

_LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)


def _hue(turns: float) -> np.ndarray:
    """The (3, 3) matrix that turns colours about grey, `turns` of a full circle, with luma kept (in YIQ)."""
    to_yiq = np.array([_LUMA.astype(np.float64), [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    sine, cosine = np.sin(2 * np.pi * turns), np.cos(2 * np.pi * turns)
    turned: np.ndarray = np.linalg.inv(to_yiq) @ np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ to_yiq
    return turned.T  # of rows of pixels


def color_jitter(frames_THWC: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float = 0.0) -> np.ndarray:
    """Scale brightness, contrast (around the clip's mean luma) and saturation, the same for all frames; uint8 in and out.

    `hue` turns the colours by a part of the circle. All are one 3 x 3 matrix and one offset, which take a frame at a time: 34 ms for 125
    frames of 224 x 224, a seventh of what the steps take over the whole clip.
    """
    height, width = frames_THWC.shape[1:3]
    sums_TWC = (frame.reshape(height, -1).sum(0, dtype=np.uint32).reshape(width, 3) for frame in frames_THWC)
    total_C = sum((sums_WC.sum(0, dtype=np.float64) for sums_WC in sums_TWC), np.zeros(3))
    mean = brightness * float(total_C @ _LUMA) / max(1, len(frames_THWC) * height * width)
    mixed_CC = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * np.outer(_LUMA, np.ones(3)))
    if hue:
        mixed_CC = _hue(hue) @ mixed_CC
    mixed_CC, offset = mixed_CC.astype(np.float32), np.float32(mean * (1 - contrast) + 0.5)
    out_THWC = np.empty_like(frames_THWC, order="C")
    for frame_HWC, out_HWC in zip(frames_THWC, out_THWC, strict=True):
        pixels = frame_HWC.reshape(-1, 3).astype(np.float32) @ mixed_CC + offset
        out_HWC[:] = pixels.clip(0, 255, out=pixels).reshape(frame_HWC.shape)
    return out_THWC


def permute_frames(frames_THWC: np.ndarray, rng: np.random.Generator, *, window: int = 0) -> np.ndarray:
    """Return the frames in an order that is never the given one (where there are two or more).

    Args:
        frames_THWC: any array of T.
        rng: draws the order.
        window: frames that stay together: order changes within each run of so many; 0 for within the whole clip.
    """
    count = len(frames_THWC)
    if count < 2 or window == 1:
        return frames_THWC
    step = window or count
    order = np.concatenate([i + rng.permutation(min(step, count - i)) for i in range(0, count, step)])
    if (order == np.arange(count)).all():
        order[: min(step, count)] = np.roll(order[: min(step, count)], 1)
    shuffled: np.ndarray = frames_THWC[order]
    return shuffled


def crop_frames(frames_THWC: np.ndarray, part: float, y: float, x: float, *, aspect: float = 1.0) -> np.ndarray:
    """Keep a window of `part` of height and width at (y, x) of the free room, as a view.

    Args:
        frames_THWC: pictures.
        part: in (0, 1].
        y, x: in [0, 1].
        aspect: factor by which width over height changes at the same area, as far as the picture reaches.
    """
    height, width = frames_THWC.shape[1:3]
    h, w = (min(size, max(1, round(size * part * by))) for size, by in ((height, aspect**-0.5), (width, aspect**0.5)))
    top, left = min(int(y * (height - h + 1)), height - h), min(int(x * (width - w + 1)), width - w)
    return frames_THWC[:, top : top + h, left : left + w]


def crop_time(clip: Clip, part: float, where: float) -> Clip:
    """Keep `part` of the clip's length, beginning at `where` of the free room; times count from the new start.

    Sound and picture stay in step.
    """
    length = clip.duration_s * part
    start = where * (clip.duration_s - length)
    changes: dict[str, object] = {"duration_s": length, "start_s": clip.start_s + start}
    if clip.frames_THWC is not None and clip.frame_times_s is not None and len(clip.frame_times_s):
        inside = (clip.frame_times_s >= start) & (clip.frame_times_s < start + length)
        if not inside.any():  # the frame on screen when the crop begins
            inside[max(0, int(np.searchsorted(clip.frame_times_s, start, side="right")) - 1)] = True
        changes |= {"frames_THWC": clip.frames_THWC[inside], "frame_times_s": (clip.frame_times_s[inside] - start).clip(min=0.0)}
        if clip.corrupt_T is not None:
            changes["corrupt_T"] = clip.corrupt_T[inside]
    if clip.waveform_N is not None:
        first = max(0, round((start - clip.waveform_start_s) * clip.sampling_rate_hz))
        last = max(0, round((start + length - clip.waveform_start_s) * clip.sampling_rate_hz))
        cut_N = clip.waveform_N[first:last]
        changes["waveform_N"] = cut_N if len(cut_N) else None
        changes["waveform_start_s"] = max(0.0, clip.waveform_start_s - start) if len(cut_N) else 0.0
    return replace(clip, **changes)  # type: ignore[arg-type]
