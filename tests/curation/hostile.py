"""Rows that nothing must be trained on, of many kinds, with good ones in between; drawn from a seed."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field

import numpy as np
import soundfile

from unifusion.cli.checks.codecs import make_clip

TEXT = 30 * 1024**2
"""Bytes of a row of much text."""
CONTROL = ("<|video|>", "<|audio|>", "<|user|>", "<|end|>", "</s>")


@dataclass(kw_only=True)
class Hostile:
    """What was written.

    Attributes:
        path: the JSONL file.
        kinds: row (from 1) -> kind; "good" for those to be trained on.
    """

    path: object
    kinds: dict = field(default_factory=dict)

    @property
    def bad(self):
        return {row for row, kind in self.kinds.items() if kind != "good"}


def files(folder):
    """The clips, and what only looks like one, that rows name."""
    folder.mkdir(parents=True, exist_ok=True)
    make_clip(folder / "a.mp4", "libx264", "aac")
    rng = np.random.default_rng(0)
    soundfile.write(folder / "b.wav", rng.normal(0, 0.1, 8000), 16_000)
    make_clip(folder / "silent.mp4", "libx264", "")
    (folder / "empty.wav").write_bytes(b"")
    whole = (folder / "a.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    (folder / "noise.mp4").write_bytes(rng.bytes(4000))
    (folder / "words.wav").write_text("This is no sound.\n")
    (folder / "list.mp4").write_text("#EXTM3U\nfile:///etc/passwd\n")
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.wav")
    outside = folder.parent / "outside"
    outside.mkdir(exist_ok=True)
    soundfile.write(outside / "secret.wav", rng.normal(0, 0.1, 8000), 16_000)
    (folder / "link.wav").symlink_to(outside / "secret.wav")
    (folder / "lost.wav").symlink_to(outside / "gone.wav")
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    return outside


def talk(path="b.wav", question="What is there to hear?", answer="A bell.", **part):
    """A whole conversation about one clip."""
    kind = "audio" if str(path).endswith(".wav") else "video"
    asked = [{"type": kind, "path": path, **part}, {"type": "text", "text": question}]
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def _row(number, **fields):
    return {"id": f"row {number}", **fields}


def _dumped(row):
    return json.dumps(row).encode()


def _broken(number, draw, outside):
    line = _dumped(_row(number, messages=talk()))
    return line[: draw.randrange(5, len(line) - 3)]


def _messages(make):
    """A row whose conversation `make` gives."""
    return lambda number, draw, outside: _dumped(_row(number, messages=make(draw)))


def _clip(*names, **part):
    """A row whose clip is one of some."""
    return lambda number, draw, outside: _dumped(_row(number, messages=talk(draw.choice(names), **part)))


def _value(text):
    """A row with a key of this JSON."""
    return lambda number, draw, outside: _dumped(_row(number, messages=talk(), extra=0)).replace(b'"extra": 0', b'"extra": ' + text)


def _deep(draw):
    opened, closed = draw.choice([("[", "]"), ('{"a":', "}")])
    many = draw.choice([70, 5_000, 100_000])
    return (opened * many + ("1" if closed == "}" else "") + closed * many).encode()


WRONG_ROWS = (
    {"messages": 3},
    {"messages": "hi"},
    {"messages": [1]},
    {"messages": {"role": "user"}},
    {"messages": None},
    {"messages": [[]]},
    {"messages": talk(), "id": {"a": 1}},
    {"messages": talk(), "group": ["s"]},
    {"messages": talk(), "split": 0.5},
    {"messages": talk(), "id": True},
    {"messages": talk(), "transcript": 5},
)
WRONG_TURNS = (
    {"role": "robot", "content": "x"},
    {"role": None, "content": "x"},
    {"role": ["user"], "content": "x"},
    {"content": "x"},
    {"role": "assistant", "content": 5},
    {"role": "assistant", "content": {"text": "x"}},
    {"role": "assistant", "content": None},
    {"role": "assistant", "content": [None]},
    {"role": "assistant", "content": [{"type": "poem", "text": "x"}]},
    {"role": "assistant", "content": [{"type": "text", "text": 7}]},
    {"role": "assistant", "content": [{"type": "text", "text": None}]},
    {"role": "assistant", "content": [{"type": "text", "text": ["x"]}]},
    {"role": "assistant", "content": [{"type": ["text"]}]},
)
WRONG_PARTS = (
    {"type": "audio"},
    {"type": "audio", "path": 5},
    {"type": "audio", "path": ["b.wav"]},
    {"type": "audio", "path": ""},
    {"type": "audio", "path": "b.wav", "start": "soon"},
    {"type": "audio", "path": "b.wav", "start": [1]},
    {"type": "audio", "path": {}},
    {"type": "audio", "path": "b.wav", "mute": "all"},
    {"type": "audio", "path": "b.wav", "mute": [{}]},
    {"type": "audio", "data": "é"},
    {"type": "audio", "data": "not base64!"},
    {"type": "audio", "data": "aGVsbG8="},
    {"type": "audio", "path": "data:audio/wav,x"},
    {"type": "audio", "path": "b.wav", "transcript": 3},
    {"type": "audio", "path": "b\u0000.wav"},
)
ORDERS = (
    ("assistant",),
    ("user", "user", "assistant"),
    ("user", "assistant", "assistant"),
    ("user", "system", "assistant"),
    ("system", "assistant"),
)


def _turns(roles):
    return [{"role": role, "content": f"the {role} speaks"} for role in roles]


KINDS = {
    "broken_json": _broken,
    "no_object": lambda number, draw, outside: draw.choice([b"[]", b"3", b'"row"', b"null", b"true", b"[{}]"]),
    "empty_object": lambda number, draw, outside: draw.choice([b"{}", _dumped(_row(number)), _dumped(_row(number, messages=[]))]),
    "not_utf8": lambda number, draw, outside: _dumped(_row(number, messages=talk())).replace(b"bell", b"b\xff\xfell"),
    "utf16": lambda number, draw, outside: json.dumps(_row(number, messages=talk())).encode("utf-16-be").replace(b"\x00\x0a", b""),
    "mark_inside": lambda number, draw, outside: b"\xef\xbb\xbf" + _dumped(_row(number, messages=talk())),
    "nan": lambda number, draw, outside: _value(draw.choice([b"NaN", b"Infinity", b"-Infinity", b"[1, NaN]"]))(number, draw, outside),
    "huge_float": _value(b"1e999"),
    "huge_int": lambda number, draw, outside: _value(b"9" * draw.choice([20, 400, 5000]))(number, draw, outside),
    "huge_time": lambda number, draw, outside: _dumped(_row(number, messages=talk(start=10**18))),
    "key_twice": lambda number, draw, outside: _dumped(_row(number, messages=talk()))[:-1] + b', "messages": []}',
    "deep": lambda number, draw, outside: _value(_deep(draw))(number, draw, outside),
    "surrogate": _messages(lambda draw: talk(answer="A bell \ud83d rings.")),
    "nul": _messages(lambda draw: talk(answer="A bell\u0000rings.")),
    "wrong_row": lambda number, draw, outside: _dumped({**_row(number), **draw.choice(WRONG_ROWS)}),
    "wrong_turn": _messages(lambda draw: [talk()[0], draw.choice(WRONG_TURNS)]),
    "wrong_part": _messages(
        lambda draw: [{"role": "user", "content": [draw.choice(WRONG_PARTS), {"type": "text", "text": "What?"}]}, talk()[1]]
    ),
    "clip_of_assistant": _messages(lambda draw: [{"role": "user", "content": "Sing."}, {**talk()[0], "role": "assistant"}]),
    "misspelt_key": lambda number, draw, outside: _dumped(
        draw.choice(
            [
                _row(number, mesages=talk()),
                _row(number, messages=[{"role": "user", "content": "Say."}, {"role": "assistant", "contnt": "x"}]),
            ]
        )
    ),
    "turns_out_of_order": _messages(lambda draw: _turns(draw.choice(ORDERS))),
    "empty_answer": _messages(lambda draw: talk(answer=draw.choice(["", " ", "\n\t", [], [{"type": "text", "text": "  "}]]))),
    "no_answer": _messages(lambda draw: talk()[:1]),
    "control": _messages(lambda draw: talk(**{draw.choice(["question", "answer"]): f"say {draw.choice(CONTROL)} now"})),
    "long_answer": _messages(lambda draw: talk(answer="a long answer " * 400)),
    "long_text": _messages(lambda draw: talk(question="why? " * 50_000)),
    "missing": _clip("gone.wav", "no/such/folder/a.mp4", "lost.wav", "loop.wav"),
    "empty_file": _clip("empty.wav"),
    "broken_file": _clip("cut.mp4", "noise.mp4", "words.wav", "list.mp4"),
    "no_file": _clip("folder.mp4", "pipe.wav", "/dev/zero", "/dev/stdin", "."),
    "no_stream": lambda number, draw, outside: _dumped(
        _row(number, messages=[{"role": "user", "content": [{"type": "audio", "path": "silent.mp4"}]}, talk()[1]])
    ),
    "url": _clip(
        "http://127.0.0.1/a.wav", "https://example.org/b.wav", "ftp://example.org/b.wav", "concat:b.wav|b.wav", "tcp://127.0.0.1:1"
    ),
    "climbs_out": _clip("../outside/secret.wav", "x/../../outside/secret.wav", "./.././outside/secret.wav"),
    "link_out": _clip("link.wav"),
    "absolute": lambda number, draw, outside: _dumped(
        _row(number, messages=talk(draw.choice([f"{outside}/secret.wav", f"file://{outside}/secret.wav"])))
    ),
    "span_late": _clip("b.wav", start=9.0, end=10.0),
    "span_turned": _messages(lambda draw: talk(start=0.4, end=draw.choice([0.1, 0.4, 0.0]))),
    "span_negative": _messages(lambda draw: talk(start=draw.choice([-1, -0.001, "-3"]))),
    "many_clips": _messages(lambda draw: [{"role": "user", "content": [talk()[0]["content"][0]] * 17}, talk()[1]]),
    "files_no_tags": lambda number, draw, outside: _dumped(
        _row(number, videos=["a.mp4", "a.mp4"], messages=[{"role": "user", "content": "<video>What?"}, talk()[1]])
    ),
}
"""Kind -> the bytes of a row of it."""
HEAVY = ("much_text",)


def good(number, draw):
    """A row to be trained on: with a sound, a video or none, and texts that only look odd."""
    answer = draw.choice(["A bell.", "Ein Glöckchen 🔔.", "5 < 6 | x", "<video tag> in words", "null", "NaN"])
    path = draw.choice(["b.wav", "a.mp4", None])
    messages = (
        [{"role": "user", "content": "Say something."}, {"role": "assistant", "content": answer}]
        if path is None
        else talk(path, answer=answer)
    )
    return _dumped({"id": f"row {number}", "messages": messages, "group": f"g{number % 7}"})


def write(folder, count, *, seed=0, heavy=2, share=0.9):
    """Write `rows.jsonl` of `count` hostile rows and good ones in between; every kind is there.

    Args:
        folder: gets the file and its clips.
        count: hostile rows.
        seed: of what is drawn.
        heavy: of those, rows of 30 MB of text.
        share: of all rows that are hostile.
    """
    outside, draw = files(folder), random.Random(seed)
    kinds = [*KINDS, *(draw.choice([*KINDS]) for _ in range(count - len(KINDS) - heavy)), *["much_text"] * heavy]
    kinds += ["good"] * max(1, round(count * (1 - share) / share))
    draw.shuffle(kinds)
    made = Hostile(path=folder / "rows.jsonl")
    with made.path.open("wb") as file:
        for number, kind in enumerate(kinds, 1):
            if kind == "much_text":
                line = _dumped(_row(number, messages=talk(answer="x" * TEXT)))
            else:
                line = good(number, draw) if kind == "good" else KINDS[kind](number, draw, outside)
            file.write(line.replace(b"\n", b" ") + b"\n")
            made.kinds[number] = kind
    return made
