"""A row's clips and transcript mean the same in manifests, messages, tables and at the prompt, and a text stream reads the words."""

import io
import json
import tarfile

import pytest

from tests.toys import LLAMA, byte_tokenizer, streams
from unifusion import catalog, checkpoint
from unifusion.cli import main
from unifusion.cli.checks.codecs import make_clip
from unifusion.errors import DatasetError
from unifusion.evaluation.clips import named_clips
from unifusion.evaluation.manifest import read_manifest
from unifusion.models.build import build_chat_model
from unifusion.processor import StreamSpec
from unifusion.processor.messages import to_conversation
from unifusion.rows import json_row, speaking, take_clips
from unifusion.training.corpus import Corpus, Rows

SAID = "We won the cup"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A checkpoint that sees, hears and reads, with a clip, a sound, and rows about them in every form."""
    root = tmp_path_factory.mktemp("rows")
    make_clip(root / "a.mp4", "libx264", "aac")
    make_clip(root / "b.wav", "", "pcm_s16le")
    tiny = vars(catalog.load("adapters", "linear").tiny())
    text = StreamSpec(encoder="bert", encoder_config=vars(catalog.load("encoders", "bert").tiny()), adapter="linear", adapter_config=tiny)
    model, processor = build_chat_model(LLAMA, {**streams(), "said": text}, tokenizer=byte_tokenizer())
    checkpoint.save(model, processor, root / "toy", provenance={}, self_contained=True)
    asked = [{"role": "user", "content": [{"type": "video", "path": "a.mp4"}, "what?"]}, {"role": "assistant", "content": "a cup"}]
    write(root / "rows.jsonl", {"id": "a", "path": "a.mp4", "transcript": SAID}, {"id": "b", "path": "a.mp4"})
    write(root / "talks.jsonl", {"messages": asked, "transcript": SAID}, {"messages": asked})
    return root


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(capsys, *words):
    code = main([str(w) for w in words])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def test_words_go_with_the_clip_they_are_heard_in():
    assert [speaking(k) for k in (["video"], ["video", "audio", "audio"], ["image", "path"], [])] == [0, 1, 0, 0]
    fields = {"video": ["a.mp4", "b.mp4"], "audio": "c.wav", "transcript": SAID, "start_s": 1, "mood": "joy"}
    clips = take_clips(fields, "here")
    assert [clips.said(n) for n in range(3)] == [None, None, SAID] and clips.start_s == 1
    assert fields == {"transcript": SAID, "mood": "joy"}, "a prompt may show it"
    for wrong in ({"transcript": 3}, {"path": 3}, {"path": "x", "end_s": "2"}):
        with pytest.raises(DatasetError, match="here"):
            take_clips(dict(wrong), "here")
    with pytest.raises(DatasetError, match="wanted an object"):
        json_row("3", "here")


def test_every_form_of_a_row_tells_the_words(world):
    told, silent = (row.media()[0].transcript for row in read_manifest(world / "rows.jsonl"))
    assert (told, silent) == (SAID, None)
    for file in ("rows.jsonl", "talks.jsonl"):
        assert [make().transcript for _, make in named_clips([world / file])[0]] == [SAID, None]
    rows = catalog.load("datasets", "messages")(world / "talks.jsonl")
    assert [to_conversation(r.labels["messages"]).media[0].transcript for r in rows] == [SAID, None]
    assert [r.media[0].transcript for r in catalog.load("datasets", "messages")(world / "rows.jsonl")] == [SAID, None]
    part = {"type": "audio", "path": "b.wav", "transcript": SAID, "start_s": 0.25, "mute": "text"}
    (media,) = to_conversation([{"role": "user", "content": [part]}]).media
    assert (media.transcript, media.start_s, media.mute) == (SAID, 0.25, ("text",))


def test_columns_and_members_have_their_span_and_words(world):
    datasets = pytest.importorskip("datasets")
    sound = (world / "b.wav").read_bytes()
    row = {"audio": [{"bytes": sound, "path": None}], "transcript": [SAID], "start_s": [0.25], "end_s": [0.5]}
    datasets.Dataset.from_dict(row).cast_column("audio", datasets.Audio()).to_parquet(world / "t.parquet")
    (example,) = catalog.load("datasets", "huggingface")(world / "t.parquet")
    (clip,) = example.media
    assert (clip.transcript, clip.start_s, clip.end_s, clip.source) == (SAID, 0.25, 0.5, sound)
    with tarfile.open(world / "s.tar", "w") as tar:
        for name, content in (("1.mp4", b"v"), ("1.wav", b"a"), ("1.jpg", b"i"), ("1.png", b"j"), ("1.json", b'{"transcript": "hi"}')):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (example,) = catalog.load("datasets", "webdataset")(world / "s.tar")
    assert [(m.source, m.transcript) for m in example.media] == [(b"v", None), (b"a", "hi"), (b"i", None), (b"j", None)]


def test_names_resolve_alike_in_rows_and_parts(tmp_path):
    parts = [{"type": "input_audio", "input_audio": {"path": "b.wav"}}, {"type": "video", "video": "clip-world://0/1"}]
    write(tmp_path / "m.jsonl", {"messages": [{"role": "user", "content": parts}]}, {"video": "clip-world://0/1"})
    talk, row = catalog.load("datasets", "messages")(tmp_path / "m.jsonl")
    wanted = [str(tmp_path / "b.wav"), "clip-world://0/1"]
    assert [m.source for m in to_conversation(talk.labels["messages"]).media] == wanted and row.media[0].source == wanted[1]


def test_a_line_that_is_none_does_not_stop_the_search_for_a_split(tmp_path):
    lines = ('{"split": broken', '["split"]', '{"path": "a.mp4", "split": "val"}', '{"path": "b.mp4", "split": "train"}')
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    rows = catalog.load("datasets", "messages")(tmp_path / "m.jsonl", split="val")
    assert len(rows) == 3 and rows[2].media[0].source.endswith("a.mp4")
    for number in (0, 1):
        with pytest.raises(DatasetError, match=f"row {number + 1}"):
            rows[number]


def test_words_are_read_in_answers_features_and_training(world, tmp_path, capsys):
    model = world / "toy"
    run(capsys, "predict", world / "rows.jsonl", "--task", "emotion", "--model", model, "-o", tmp_path / "o.jsonl")
    told, silent = (json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines())
    assert told["report"]["streams"]["said"]["present"] and told["report"]["streams"]["said"]["tokens"] > 0
    assert silent["report"]["streams"]["said"]["reason"] == "nobody told what is said (Media.transcript)"
    assert told["probabilities"] != silent["probabilities"]
    words = (world / "a.mp4", "--transcript", SAID, "--json", "--model", model)
    for command in (("chat", *words, "-q", "what?"), ("emotion", *words)):
        assert json.loads(run(capsys, *command))["report"]["streams"]["said"] == told["report"]["streams"]["said"]
    store = tmp_path / "store"
    summary = json.loads(run(capsys, "encode", world / "rows.jsonl", "--model", model, "-o", store, "--json"))
    assert summary["clips"] == 2, "with its words a clip is another one"
    again = json.loads(run(capsys, "encode", world / "talks.jsonl", "--model", model, "-o", store, "--json"))
    assert (again["clips"], again["there"]) == (0, 2), "the same clips, however a row spells them"
    for count in (1, 0):  # for sound alone it is one clip, with words or without
        words = ("encode", world / "rows.jsonl", "--model", model, "--stream", "audio", "-o", tmp_path / "sound", "--json")
        assert json.loads(run(capsys, *words))["clips"] == count
    _, processor = checkpoint.load(model)
    rows = Rows(Corpus(world / "talks.jsonl"), processor, max_tokens=500)
    found = {r.report.streams["said"].tokens for r in (rows[0], rows[1])}
    assert found == {0, told["report"]["streams"]["said"]["tokens"]}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": [1, -Infinity]}', "-Infinity is no number"),
        (b'{"a": 1e999}', "too large for 64 bits"),
        (b'{"a": 99999999999999999999}', "more than 64 bits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", "more than 64 levels"),
        (b'{"a": ' + b"[" * 10**5 + b"]" * 10**5 + b"}", "not JSON"),
        (b'{"a": "\\u0000"}', "a holds a NUL"),
        (b'{"a": "\\ud83d"}', "half a surrogate pair"),
        (b'{"path": "\\ud83d"}', "half a surrogate pair"),
        (b'{"a\\ud83d": 1}', "a key holds half"),
        (b'{"a": "\xff"}', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"[]", "list, wanted an object"),
    ],
)
def test_a_row_that_nothing_takes_is_named(line, said):
    with pytest.raises(DatasetError, match=said):
        json_row(line, "here")


def test_rows_that_only_look_odd_are_read():
    row = {"a": "\U0001f514 \x1b[1m", "path": "\udcff.wav", "n": 2**62, "deep": [[[[1]]]], "x": 1e308, "none": None}
    assert json_row(json.dumps(row), "here") == row == json_row(json.dumps(row).encode(), "here")


def test_clips_of_their_own_spans(tmp_path):
    parts = [{"type": "audio", "path": "a.wav", "start_s": 1.0, "mute": ["text"], "at_least_db": -30.0}, {"type": "video", "path": "b.mp4"}]
    rows = [{"media": parts, "caption": "x", "labels": {"emotion": "joy", "options": ["a", ["b"]]}}, {"media": "a word", "labels": ["x"]}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    own, plain = catalog.load("datasets", "messages")(path)
    assert [(m.kind, m.start_s, m.mute, m.at_least_db) for m in own.media] == [("audio", 1.0, ("text",), -30.0), ("video", None, (), None)]
    assert own.texts == {"caption": "x"} and own.labels == {"emotion": "joy", "options": ("a", ("b",))}
    assert plain.media == () and plain.labels == {"media": "a word", "labels": ["x"]}
    for wrong in ({"type": "audio"}, {"type": "audio", "path": "a", "mute": "all"}, {"type": "audio", "path": "a", "at_least_db": "loud"}):
        path.write_text(json.dumps({"media": [wrong]}))
        with pytest.raises(DatasetError, match=r"the clip|at_least_db"):
            catalog.load("datasets", "messages")(path)[0]


def test_files_stay_below_the_root(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.wav").symlink_to(tmp_path / "out.wav")
    names = [
        "a.wav",
        "x/../a.wav",
        "../out.wav",
        "link.wav",
        str(tmp_path / "out.wav"),
        f"file://{tmp_path}/out.wav",
        str(tmp_path / "in" / "a.wav"),
    ]
    path = tmp_path / "in" / "rows.jsonl"
    path.write_text("".join(json.dumps({"messages": [{"role": "user", "content": [{"type": "audio", "path": n}]}]}) + "\n" for n in names))
    free, bound = (catalog.load("datasets", "messages")(path, **o) for o in ({}, {"root": tmp_path / "in"}))
    assert len(list(free)) == len(names)
    led = []
    for n in range(len(names)):
        try:
            bound[n]
        except DatasetError as error:
            assert "leads out of" in error.found
            led.append(n)
    assert led == [2, 3, 4, 5]
