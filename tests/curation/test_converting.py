"""What is converted reads back as the same examples, whatever reader gave them; others' spellings; kills, bad rows, copies."""

import base64
import json
import random
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from tests.datasets.test_readers import read
from tests.datasets.trees import TREES
from tests.thorough import further
from unifusion.conversation import Clip, Example, Media, Mix
from unifusion.curation.converting import ConvertOptions, convert
from unifusion.curation.sinks import State
from unifusion.curation.source import open_source, taken
from unifusion.curation.spellings import plain_row, row_in
from unifusion.curation.validating import validate
from unifusion.datasets._places import Places, placed
from unifusion.datasets._rows import example_of
from unifusion.datasets.clip_world import write_world
from unifusion.datasets.messages import Messages
from unifusion.errors import ConfigError, DatasetError
from unifusion.evaluation.manifest import read_manifest
from unifusion.training.corpus import talk_of

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "audio", "path": "b.wav", "start": 0.1, "end": 0.4}, {"type": "text", "text": "What?"}]},
    {"role": "assistant", "content": "A bell."},
]


@pytest.fixture
def folder(tmp_path):
    for name, seconds in (("b.wav", 0.5), ("c.wav", 0.25)):
        soundfile.write(tmp_path / name, np.linspace(-0.1, 0.1, int(16_000 * seconds)), 16_000)
    return tmp_path


def jsonl(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def converted(source, out, **options):
    return convert(source if not isinstance(source, str | type(out)) else open_source(source), out, ConvertOptions(**options))


@pytest.mark.parametrize("name", sorted(set(TREES) - {"laion"}))  # laion's clips lie in tars
def test_every_reader_reads_back_the_same(name, tmp_path):
    TREES[name](tmp_path / "in")
    source = open_source(tmp_path / "in", dataset=name)
    rows = [t.example for t in taken(source)]
    held = any(isinstance(m.source, bytes) for r in rows for m in r.media)
    done = converted(source, tmp_path / "out.jsonl", to="manifest", copy_media=False, skip_bad=held)
    again = list(Messages(tmp_path / "out.jsonl"))
    wanted = [r for r in rows if not any(isinstance(m.source, bytes) for m in r.media)]
    assert again == wanted and len(again) == done.rows >= 1 and done.bad == len(rows) - len(wanted)


EXAMPLES = [
    Example(id="bare", texts={"question": "why?"}, labels={}),
    Example(id="same", texts={"emotion": "joy"}, labels={"emotion": "joy", "n": 3}, group="g", split="val"),
    Example(id="tuples", labels={"options": ("a", "b"), "history": ({"speaker": "x", "text": "y"},), "valence": -0.5, "none": None}),
    Example(id="lists", media=(Media(kind="audio", source="b.wav"),), labels={"options": ["a"], "flag": True}),
    Example(id="span", media=(Media(kind="video", source="a.mp4", start_s=1.0, end_s=2.5, transcript="hi"),), texts={"transcript": "hi"}),
    Example(id="said", media=(Media(kind="audio", source="b.wav", transcript="hi"),), texts={"caption": "x"}, labels={"captions": ("x",)}),
    Example(id="two", media=(Media(kind="audio", source="b.wav", start_s=1.0), Media(kind="video", source="a.mp4", mute=("audio",)))),
    Example(id="loud", media=(Media(kind="audio", source="b.wav", at_least_db=-20.0),)),
    Example(id="order", media=(Media(kind="image", source="i.png"), Media(kind="video", source="a.mp4"))),
    Example(id="talk", labels={"messages": TALK, "topic": "bells"}, texts={"topic": "bells"}, group="t"),
    Example(id="world", media=(Media(kind="video", source="clip-world://0/1"),), labels={"labels": {"a": (1, 2)}}),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.id)
def test_a_row_says_all_of_an_example(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = jsonl(tmp_path / "rows.jsonl", plain_row(placed(example, Places(tmp_path))))
    (again,) = Messages(path)
    here = lambda source: source if "://" in str(source) else str(tmp_path / source)  # noqa: E731
    media = tuple(Media(**{**vars(m), "source": here(m.source)}) for m in example.media)
    assert again.media == media and (again.id, again.group, again.split, again.texts) == (
        example.id,
        example.group,
        example.split,
        example.texts,
    )
    labels = dict(again.labels)
    if "messages" in labels:
        labels["messages"][1]["content"][0]["path"] = "b.wav"
    assert labels == dict(example.labels)


def test_texts_called_like_other_keys_and_the_manifest_of_clip_world(tmp_path):
    row = plain_row(Example(id="a", texts={"video": "x", "transcript": "y"}, labels={"n": (1, 2)}))
    assert row["texts"] == {"video": "x", "transcript": "y"} and example_of(row, "", "", str).texts == row["texts"]
    manifest = write_world(tmp_path / "world", count=2, per_clip=2, size_px=48, duration_s=2.0)
    first = Messages(manifest)[0]
    assert {"question", "answer", "caption"} <= set(first.texts) and {"emotion", "needs", "script"} <= set(first.labels)
    assert validate(open_source(manifest, stream=True)).errors == 0
    convert(open_source(manifest), tmp_path / "out.jsonl", ConvertOptions(to="manifest"))
    again, shown = Messages(tmp_path / "out.jsonl"), read_manifest(tmp_path / "out.jsonl")[0].example()
    assert shown.texts == first.texts and shown.labels["emotion"] == first.labels["emotion"]
    assert [(r.id, r.texts, r.labels) for r in again] == [(r.id, r.texts, r.labels) for r in Messages(manifest)]


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (Example(id="a", labels={"x": {1, 2}}), "not JSON serializable"),
        (Example(id="a", labels={"x": float("nan")}), "not JSON compliant"),
        (Example(id="a", labels={"x": {1: 2}}), "reads back the same"),
    ],
)
def test_what_no_row_can_say_is_refused_not_lost(example, said):
    with pytest.raises(DatasetError, match=said):
        plain_row(example)


def test_a_manifest_is_read_by_predict(folder):
    source = open_source(jsonl(folder / "in.jsonl", {"id": "a", "audio": "b.wav", "emotion": "joy", "start_s": 0.1, "question": "How?"}))
    converted(source, folder / "out.jsonl", to="manifest")
    (row,) = read_manifest(folder / "out.jsonl")
    (media,) = row.media()
    assert (row.id, row.question, media.start_s, media.source) == ("a", "How?", 0.1, str(folder / "b.wav"))
    assert row.example().texts == {"emotion": "joy", "question": "How?"}


def test_a_manifest_with_labels_apart_is_read_by_predict(folder):
    example = Example(id="a", media=(Media(kind="audio", source="b.wav"),), texts={"transcript": "hi"}, labels={"emotion": "joy"})
    path = jsonl(folder / "m.jsonl", plain_row(example))
    assert set(lines(path)[0]) == {"id", "media", "transcript", "labels"}
    (row,) = read_manifest(path)
    assert row.media() == (Media(kind="audio", source=str(folder / "b.wav")),)
    assert row.example().labels == {"emotion": "joy"} and row.example().texts == {"transcript": "hi"}
    apart = {"id": "b", "media": [{"type": "audio", "path": "b.wav", "start_s": 1.0}, {"type": "audio", "path": "c.wav"}]}
    with pytest.raises(DatasetError, match="spans of their own"):
        read_manifest(jsonl(folder / "m.jsonl", apart))


@pytest.mark.parametrize("form", ["messages", "openai"])
def test_conversations_read_back_the_same(form, folder):
    source = open_source(jsonl(folder / "in.jsonl", {"id": "a", "group": "g", "messages": TALK}))
    converted(source, folder / "out.jsonl", to=form)
    (before,), (after,) = Messages(folder / "in.jsonl"), Messages(folder / "out.jsonl")
    assert talk_of(after, "x") == talk_of(before, "x") and after.group == "g"


def test_rows_are_asked_about_by_a_task(folder):
    rows = [{"id": "a", "path": "b.wav", "emotion": "joy"}, {"id": "b", "path": "c.wav", "emotion": "anger"}]
    source = open_source(jsonl(folder / "in.jsonl", *rows), task="emotion")
    converted(source, folder / "out.jsonl", to="messages")
    talks = [talk_of(e, "x") for e in Messages(folder / "out.jsonl")]
    assert [t.messages[-1].text for t in talks] == ["happy", "angry"] and all(len(t.media) == 1 for t in talks)
    with pytest.raises(DatasetError, match="holds no conversation"):
        converted(open_source(folder / "in.jsonl"), folder / "none.jsonl", to="messages")


def test_others_spellings(folder):
    clip = {"type": "audio", "path": "b.wav"}
    talk = [TALK[0], {"role": "user", "content": [clip, {"type": "text", "text": "And "}, {**clip, "path": "c.wav"}]}, TALK[2]]
    (example,) = Messages(jsonl(folder / "in.jsonl", {"id": "a", "messages": talk}))
    (factory,), (share,), (openai,) = (list(row_in(f, example, Places(folder))) for f in ("llamafactory", "sharegpt", "openai"))
    said = "<audio>And <audio>"
    assert factory == {
        "id": "a",
        "audios": ["b.wav", "c.wav"],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": said},
            {"role": "assistant", "content": "A bell."},
        ],
    }
    assert share == {
        "id": "a",
        "audios": ["b.wav", "c.wav"],
        "system": "Be brief.",
        "conversations": [{"from": "human", "value": said}, {"from": "gpt", "value": "A bell."}],
    }
    assert openai["messages"][1]["content"][0] == {"type": "audio_url", "audio_url": {"url": "b.wav"}}


def test_what_a_spelling_cannot_say_is_refused(folder):
    tag = {"role": "user", "content": [{"type": "text", "text": "<video> is a tag"}]}
    spanned, tagged = {"id": "a", "messages": TALK}, {"id": "b", "messages": [tag, TALK[2]]}
    examples = list(Messages(jsonl(folder / "in.jsonl", spanned, tagged)))
    for example, said in zip(examples, ("has a span or is muted", "holds a tag"), strict=True):
        with pytest.raises(DatasetError, match=said):
            list(row_in("sharegpt", example, Places(folder)))


def test_clips_are_copied_once_by_content(folder):
    (folder / "same.wav").write_bytes((folder / "b.wav").read_bytes())
    rows = [{"id": n, "path": n} for n in ("b.wav", "same.wav", "c.wav", "b.wav")]
    done = converted(jsonl(folder / "in.jsonl", *rows), folder / "out" / "rows.jsonl", to="manifest", copy_media=True)
    assert done.files == 2 and done.n_bytes == sum((folder / n).stat().st_size for n in ("b.wav", "c.wav"))
    names = [r["audio"] for r in lines(folder / "out" / "rows.jsonl")]
    assert names[0] == names[1] == names[3] != names[2] and all((folder / "out" / n).is_file() for n in names)
    with pytest.raises(DatasetError, match="cannot be opened"):
        converted(jsonl(folder / "in.jsonl", {"path": "gone.wav"}), folder / "gone" / "rows.jsonl", to="manifest", copy_media=True)


def test_clips_that_are_no_files(folder):
    places = Places(folder)
    for source, said in ((b"x", "holds its clip itself"), (Mix(), "made when it is opened"), (Clip(), "made when it is opened")):
        with pytest.raises(DatasetError, match=said):
            places(source, "a")
    assert places(str(folder / "x" / "a.wav"), "a") == "x/a.wav" and places("/elsewhere/a.wav", "a") == "/elsewhere/a.wav"


def test_shards_and_back(folder):
    rows = [{"id": f"r{n}", "audio": "b.wav" if n % 2 else "c.wav", "emotion": "joy", "start_s": 0.125} for n in range(5)]
    rows.append({"id": "t", "messages": TALK})
    jsonl(folder / "in.jsonl", *rows)
    done = converted(folder / "in.jsonl", folder / "shards", to="webdataset", per_shard=4)
    assert done.rows == 6 and sorted(p.name for p in (folder / "shards").iterdir()) == ["00000.tar", "00001.tar"]
    before, after = list(Messages(folder / "in.jsonl")), list(read("webdataset", folder / "shards"))
    for old, new in zip(before[:5], after[:5], strict=True):
        assert (new.id, new.labels, new.texts) == (old.id, old.labels, old.texts)
        assert [(m.source, m.start_s) for m in new.media] == [(open(m.source, "rb").read(), m.start_s) for m in old.media]
    assert talk_of(after[5], "x").media[0].source == (folder / "b.wav").read_bytes()
    out = converted(folder / "shards", folder / "back" / "rows.jsonl", to="manifest", copy_media=True)
    assert out.rows == 6 and out.files == 2
    assert converted(folder / "shards", folder / "again", to="webdataset").rows == 6
    assert [e.media for e in read("webdataset", folder / "again")] == [e.media for e in after]


def test_bad_rows_end_the_run_or_are_listed(folder):
    path = jsonl(folder / "in.jsonl", {"id": "a", "path": "b.wav"}, {"path": 5}, {"id": "c", "path": "c.wav"})
    with pytest.raises(DatasetError, match=r"path is 5"):
        converted(path, folder / "out.jsonl", to="manifest")
    done = converted(path, folder / "out.jsonl", to="manifest", skip_bad=True, overwrite=True)
    assert (done.rows, done.bad) == (2, 1) and [r["id"] for r in lines(folder / "out.jsonl")] == ["a", "c"]
    assert "path is 5" in lines(folder / "out.jsonl.bad.jsonl")[0]["reason"]
    with pytest.raises(ConfigError, match="is there already"):
        converted(path, folder / "out.jsonl", to="manifest")


@pytest.mark.parametrize("to", ["manifest", "webdataset"])
def test_a_run_that_was_cut_off_goes_on(folder, monkeypatch, to):
    jsonl(folder / "in.jsonl", *({"id": f"r{n}", "path": "b.wav"} for n in range(40)))
    monkeypatch.setattr("unifusion.curation.sinks._COMMIT_ROWS", 8)
    whole, out = folder / "whole", folder / "out"
    converted(folder / "in.jsonl", whole, to=to, per_shard=8)
    source, count = open_source(folder / "in.jsonl"), [0]

    def stop(_):
        count[0] += 1
        if count[0] == 21:
            raise KeyboardInterrupt

    options = ConvertOptions(to=to, per_shard=8)
    with pytest.raises(KeyboardInterrupt):
        convert(source, out, options, progress=stop)
    assert not out.is_file()
    with pytest.raises(ConfigError, match="unfinished run of other"):
        convert(source, out, ConvertOptions(to=to, per_shard=9), progress=stop)
    done = convert(source, out, options)
    assert done.resumed == 16 and done.rows == 40
    if to == "manifest":
        assert out.read_bytes() == whole.read_bytes()
    else:
        assert [e.id for e in read("webdataset", out)] == [f"r{n}" for n in range(40)]
    assert not list(folder.rglob("*.part*"))


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(ConfigError, match="is no record"):
        State(tmp_path / "r.json", {})


def test_clips_inside_of_rows_become_files(folder):
    data = base64.b64encode((folder / "b.wav").read_bytes()).decode()
    row = {"id": "a", "messages": [{"role": "user", "content": [{"type": "audio", "data": data}]}, TALK[2]]}
    converted(jsonl(folder / "in.jsonl", row), folder / "out" / "o.jsonl", to="openai", copy_media=True)
    (again,) = Messages(folder / "out" / "o.jsonl")
    (media,) = talk_of(again, "x").media
    assert open(media.source, "rb").read() == (folder / "b.wav").read_bytes()


@pytest.mark.parametrize("count", [further(10)])
def test_killed_at_any_moment_the_same_command_goes_on(folder, count):
    jsonl(folder / "in.jsonl", *({"id": f"r{n}", "path": "b.wav", "caption": "x" * 200} for n in range(4000)))
    words = [sys.executable, "-m", "unifusion", "data", "convert", str(folder / "in.jsonl"), "--to", "manifest", "-o"]
    draw, out = random.Random(0), folder / "out.jsonl"
    for _ in range(count):
        process = subprocess.Popen([*words, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        began = time.monotonic()
        while not list(folder.glob(".out.jsonl.part*")) and process.poll() is None and time.monotonic() - began < 60:
            time.sleep(0.01)
        time.sleep(draw.random() * 0.3)
        process.kill()
        process.wait()
        if out.exists():
            break
    if not out.exists():
        subprocess.run([*words, str(out)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert [row["id"] for row in lines(out)] == [f"r{n}" for n in range(4000)] and not list(folder.glob(".out*"))
