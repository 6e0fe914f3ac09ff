"""Labelled rows of every sort with small real files, for what is made of them."""

from __future__ import annotations

import json

import numpy as np
import soundfile
from PIL import Image

from unifusion.conversation import Example, Media
from unifusion.instructing.affording import streams_of

THINGS = ("dog", "cat", "red car", "train", "tall woman", "child", "violin", "river", "old door", "kite")
DEEDS = ("barks loudly", "jumps over stones", "turns left slowly", "stops at night", "waits outside", "plays alone", "falls apart", "glows")


def caption(number):
    """One of 80 captions that share few words."""
    return f"A {THINGS[number % 10]} {DEEDS[number // 10 % 8]}."


def write_sound(path, seconds=0.2):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.sin(np.arange(int(16_000 * seconds)) / 9) * 0.2, 16_000)
    return path


def write_picture(path, grey=99):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (24, 16), grey).convert("RGB").save(path)
    return path


def world(number, **options):
    """A reference to a clip of clip world, a quarter of which lacks picture or sound."""
    return Media(kind="video", source=f"clip-world://0/{number}?split=train&size=112&duration=6", **options)


def captioned(count=40, media=world):
    """Rows with captions, each of a group of its own."""
    return [Example(id=f"c{n}", media=(media(n),), texts={"caption": caption(n)}, group=f"g{n}", split="train") for n in range(count)]


def there(rows):
    """Streams of all clips of some rows."""
    return {row.media: set().union(*(streams_of(m) for m in row.media)) for row in rows}


def write_rows(path, rows):
    """A JSONL file of rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
