"""Picture files: stills and animations."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.media import clips
from tests.media.mutations import mutate
from unifusion.errors import MediaError
from unifusion.media import Sampling, probe, read_audio, read_clip, read_image


def stored(format, pictures=(7,), **options):
    sink = io.BytesIO()
    images = [Image.fromarray(clips.barcode(n)) for n in pictures]
    more = {"save_all": True, "append_images": images[1:]} if len(images) > 1 else {}
    images[0].save(sink, format, **more, **options)
    return sink.getvalue()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF"])
def test_a_still_is_one_frame_at_time_0(format):
    data = stored(format)
    read = read_clip(data, video=Sampling(count=8), audio=True)
    assert read.frames_THWC.shape == (1, 96, 192, 3)
    assert clips.number_of(read.frames_THWC[0]) == 7
    assert (read.frame_times_s.tolist(), read.duration_s) == ([0.0], 0.0)
    assert "no sound" in read.notes[0]
    info = probe(data)
    assert (info.container, info.width, info.height, info.is_image, info.has_audio) == (format.lower(), 192, 96, True, False)


@pytest.mark.parametrize(("format", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})])
def test_an_animation_has_times(format, options):
    data = stored(format, range(1, 7), duration=[100, 300, 100, 100, 300, 100], **options)
    read = read_clip(data, video=Sampling(rate_hz=50), audio=False)
    assert [clips.number_of(f) for f in read.frames_THWC] == [1, 2, 3, 4, 5, 6]
    assert read.frame_times_s.tolist() == pytest.approx([0.0, 0.1, 0.4, 0.5, 0.6, 0.9])
    assert probe(data).duration_s == pytest.approx(1.0)
    some = read_clip(data, start_s=0.4, end_s=0.7, video=Sampling(count=2), audio=False)
    assert [clips.number_of(f) for f in some.frames_THWC] == [3, 5]
    with pytest.raises(MediaError, match="the animation ends at"):
        read_clip(data, start_s=5.0, video=Sampling(count=2), audio=False)


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 1), (8, 3)])
def test_exif_orientation_is_applied(orientation, turns):
    image = Image.fromarray(np.rot90(clips.barcode(9), turns))
    exif = Image.Exif()
    exif[0x0112] = orientation
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=95, exif=exif)
    assert clips.number_of(read_image(sink.getvalue()).frames_THWC[0]) == 9
    assert (probe(sink.getvalue()).width, probe(sink.getvalue()).height) == (192, 96)


def test_transparency_is_shown_on_white_and_16_bit_grey_is_scaled():
    clear = io.BytesIO()
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(clear, "PNG")
    assert (read_image(clear.getvalue()).frames_THWC == 255).all()
    deep = io.BytesIO()
    Image.fromarray(np.full((8, 8), 32_896, np.uint16)).save(deep, "PNG")
    assert (read_image(deep.getvalue()).frames_THWC == 128).all()


def test_scaling_a_still():
    assert read_image(stored("PNG"), max_side_px=96).frames_THWC.shape == (1, 48, 96, 3)


def test_asking_a_picture_for_sound_gives_none_and_says_why():
    read = read_audio(stored("PNG"))
    assert (read.waveform_N, read.frames_THWC) == (None, None)
    assert "no sound" in read.notes[0]


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_damage_is_an_error_or_a_flag(format):
    """PNG by its checksums; JPEG by a second, strict decoder (Pillow's says nothing of damaged JPEG data)."""
    whole = read_image(stored(format)).frames_THWC.astype(int)
    wrong = flagged = 0
    for seed in range(40):
        broken = mutate(stored(format), ("blank", "flip_many")[seed % 2], seed)
        try:
            read = read_clip(broken, video=Sampling(count=1), audio=False, strict=False)
        except MediaError:
            continue
        differs = read.frames_THWC.shape != whole.shape or np.abs(read.frames_THWC - whole).mean() > 8
        wrong += differs
        flagged += differs and read.corrupt_T[0]
        if read.corrupt_T[0]:
            with pytest.raises(MediaError, match="damaged picture"):
                read_image(broken)
    assert wrong == flagged
    if format == "JPEG":
        assert wrong > 0


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF"])
def test_any_damage_is_at_worst_a_media_error(format):
    data = stored(format, (1, 2)) if format in ("GIF", "WEBP") else stored(format)
    refused = 0
    for seed in range(60):
        broken = mutate(data, ("flip_anywhere", "truncate", "edit_header", "remove")[seed % 4], seed)
        for attempt in (probe, read_image):
            try:
                attempt(broken)
            except MediaError:
                refused += 1
    assert refused > 20
