"""One conversation in every spelling is one and the same; what does not fit together is an error that names the row."""

import io
import json
import random
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion import catalog
from unifusion.datasets._rows import example_of
from unifusion.datasets._spellings import marked, spelled
from unifusion.errors import DatasetError, UniFusionError
from unifusion.processor.messages import to_conversation

ASKED = [{"type": "video", "path": "a.mp4"}, {"type": "text", "text": "What?"}]
TOLD = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": "A dog."}]
HUMAN = [{"from": "human", "value": "<video>\nWhat?"}, {"from": "gpt", "value": "A dog."}]
MARKED = [{"role": "user", "content": "<video>What?"}, {"role": "assistant", "content": "A dog."}]
SAME = {
    "openai": {"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": "A dog."}]},
    "hugging face": {"messages": [{"role": "user", "content": [{"type": "video"}, ASKED[1]]}, TOLD[1]], "videos": ["a.mp4"]},
    "sharegpt": {"conversations": HUMAN, "video": "a.mp4"},
    "llava, in a list": {"conversations": HUMAN, "video": ["a.mp4"]},
    "llava's video sets": {"conversations": [{"from": "human", "value": "<image>\nWhat?"}, HUMAN[1]], "video": "a.mp4"},
    "nextgpt": {"conversations": HUMAN, "input_video": "a.mp4"},
    "llamafactory": {"messages": MARKED, "videos": ["a.mp4"]},
    "llamafactory, sharegpt": {"conversations": HUMAN, "videos": ["a.mp4"], "images": [], "audios": None},
    "ms-swift": {"query": "<video>What?", "response": "A dog.", "videos": ["a.mp4"], "history": []},
    "ms-swift, paired": {"conversation": [{"human": "<video>What?", "assistant": "A dog."}], "videos": [{"path": "a.mp4"}]},
    "alpaca": {"instruction": "<video>What?", "input": "", "output": "A dog.", "videos": ["a.mp4"], "history": []},
    "user and assistant": {
        "conversations": [{"from": "user", "value": "<video>What?"}, {"from": "assistant", "value": "A dog."}],
        "video": "a.mp4",
    },
}


def messages(row, **options):
    return spelled(row, "x, row 1", **options)[0]["messages"]


@pytest.mark.parametrize("name", SAME)
def test_every_spelling_says_the_same(name):
    before = json.dumps(SAME[name])
    fields, held = spelled({"id": "r", **SAME[name]}, "x, row 1")
    assert fields == {"id": "r", "messages": TOLD} and not held
    assert json.dumps(SAME[name]) == before, "the row itself is left alone"


def test_turns_before_tools_and_what_is_said_of_them():
    row = {"query": "C?", "response": "c", "history": [["A?", "a"], ["B?", "b"]], "system": "Be brief."}
    assert [(m["role"], m["content"]) for m in messages(row)] == [
        ("system", "Be brief."),
        ("user", "A?"),
        ("assistant", "a"),
        ("user", "B?"),
        ("assistant", "b"),
        ("user", "C?"),
        ("assistant", "c"),
    ]
    called = [
        ("human", "Weather?"),
        ("function_call", "rain()"),
        ("observation", "wet"),
        ("gpt", "It rains."),
        ("human", "So?"),
        ("gpt", "Stay."),
    ]
    found = messages({"conversations": [{"from": who, "value": text} for who, text in called], "system": ""})
    assert [m["role"] for m in found] == ["user", "assistant", "user", "assistant", "user", "assistant"]
    assert messages({"system": "other", "messages": [{"role": "system", "content": "own"}, *TOLD]})[0]["content"] == "own"


def test_turns_that_are_shown_and_not_learnt():
    turns = [
        {"role": "user", "content": "A?", "loss": False},
        {"role": "assistant", "content": "a", "loss": False},
        {"role": "user", "content": "B?"},
        {"role": "assistant", "content": "b", "weight": 0},
        {"role": "user", "content": "C?"},
        {"role": "assistant", "content": "c", "weight": 1, "loss": True},
    ]
    talk = to_conversation(messages({"messages": turns}))
    assert [m.supervised for m in talk.messages] == [False, False, False, False, False, True]


def test_files_stand_where_their_marks_do():
    row = {
        "messages": [
            {"role": "user", "content": "First <image> and <audio>\nthen <image>"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "And <image>?"},
            {"role": "assistant", "content": "c"},
        ],
        "images": ["1.png", "2.png", "3.png"],
        "audios": "s.wav",
    }
    first, _, second, _ = messages(row)
    assert first["content"] == [
        {"type": "text", "text": "First "},
        {"type": "image", "path": "1.png"},
        {"type": "text", "text": " and "},
        {"type": "audio", "path": "s.wav"},
        {"type": "text", "text": "then "},
        {"type": "image", "path": "2.png"},
    ]
    assert second["content"][1] == {"type": "image", "path": "3.png"} and second["content"][2]["text"] == "?"


def test_rows_without_a_conversation_are_left_as_they_are():
    for row in ({"video": "a.mp4", "emotion": "joy"}, {"query": "only asked"}, {"conversations": 7}, {"messages": 3}):
        assert spelled(row, "x") == (row, frozenset())


def test_clips_that_parts_name_are_not_taken_from_lists():
    fields, _ = spelled({"messages": TOLD, "video": "a label"}, "x")
    assert fields == {"messages": TOLD, "video": "a label"}


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"messages": MARKED}, "names 0 video file(s), its messages show 1 <video>"),
        ({"messages": MARKED, "videos": ["a.mp4", "b.mp4"]}, "names 2 video file(s), its messages show 1"),
        (
            {"conversations": [{"from": "human", "value": "What?"}, HUMAN[1]], "image": "a.jpg"},
            "names 1 image file(s), its messages show 0",
        ),
        ({"messages": MARKED, "audios": ["a.wav"]}, "names 0 video file(s)"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "<image>"}]}, "<image> in a turn of assistant"),
        ({"messages": TOLD, "conversations": HUMAN}, "holds messages and conversations"),
        ({"messages": [{"role": "chef", "content": "x"}]}, "a turn is of 'chef'"),
        ({"messages": [{"content": "x"}]}, "a turn is of None"),
        ({"messages": ["x"]}, "a turn is 'x'"),
        ({"messages": [{"role": "user", "content": None}]}, "a turn says None"),
        ({"messages": [{"role": "user", "content": [3]}]}, "a turn says [3]"),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}, "holds tool_calls"),
        ({"query": "a", "response": "b", "history": ["c"]}, "history is ['c']"),
        ({"messages": MARKED, "videos": [["1.jpg", "2.jpg"]]}, "videos is"),
        ({"messages": MARKED, "videos": [""]}, "videos is"),
        ({"messages": MARKED, "videos": [{"bytes": None}]}, "videos is"),
    ],
)
def test_what_does_not_fit_together(row, found):
    with pytest.raises(DatasetError) as error:
        spelled(row, "x, row 1")
    assert found in error.value.found and "x, row 1" in error.value.found and error.value.remedy


def test_marks_that_are_text():
    """In a content part always; in a row that names no file where the set says so (LLaVA's rows of text)."""
    asked = [
        {"role": "user", "content": [{"type": "text", "text": "What is <video> in HTML?"}]},
        {"role": "assistant", "content": "A tag."},
    ]
    assert messages({"messages": asked}) == asked
    typed = [{"role": "user", "content": "What is <video> in HTML?"}, {"role": "assistant", "content": "<video> is a tag."}]
    assert messages({"messages": typed}, bare_marks=True) == typed
    with pytest.raises(DatasetError, match="names 1 image"):
        messages({"messages": typed, "image": "a.png"}, bare_marks=True)
    with pytest.raises(DatasetError, match="names 0 video"):
        messages({"messages": [{"role": "user", "content": [{"type": "video"}]}, typed[1]]}, bare_marks=True)


def test_held_clips_stand_where_marks_are():
    fields, used = spelled({"messages": MARKED}, "x", held={"video": [b"clip"], "audio": [b"sound"]})
    assert fields["messages"][0]["content"][0] == {"type": "video", "path": b"clip"} and used == {"video"}
    assert (
        marked({"messages": MARKED}) and marked({"conversations": HUMAN}) and not marked({"messages": TOLD}) and not marked({"messages": 1})
    )


WORDS = st.sampled_from(["<image>", "<video>x", "<|video|>", "human", "user", "gpt", "text", "../../etc/passwd", "http://x/y.mp4", "\x00"])
NAMES = st.sampled_from(
    ["role", "from", "content", "value", "type", "text", "path", "human", "assistant", "start_s", "mute", "at_least_db"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": JSON})
KEYS = [
    "conversations",
    "query",
    "response",
    "history",
    "system",
    "image",
    "images",
    "videos",
    "audio",
    "id",
    "start_s",
    "transcript",
    "path",
]
ROW = st.fixed_dictionaries({}, optional={"messages": JSON | st.lists(TURN, max_size=3), **dict.fromkeys(KEYS, JSON)})


@settings(max_examples=300, deadline=None)
@given(ROW)
def test_any_row_is_read_or_refused_by_name(row):
    try:
        example = example_of(row, "1", "the row", str)
    except DatasetError as error:
        assert "the row" in error.found and error.remedy
        return
    if isinstance(example.labels.get("messages"), list):
        try:
            to_conversation(example.labels["messages"])
        except UniFusionError as error:
            assert error.remedy


def test_the_real_samples_of_other_projects(data):
    """LLaMA-Factory's demo files, and NExT-GPT's, as they lie in their repositories."""
    for name, kinds in (("mllm_audio_demo", ["audio"]), ("mllm_video_demo", ["video"]), ("mllm_video_audio_demo", ["video", "audio"])):
        rows = catalog.load("datasets", "messages")(data / "text" / "llamafactory_demo" / f"{name}.json")
        assert len(rows) == 3
        for row in rows:
            talk = to_conversation(row.labels["messages"])
            assert [m.kind for m in talk.media] == kinds and talk.messages[-1].supervised and "<" not in talk.messages[0].text
            assert all(str(m.source).startswith(str(data / "text" / "llamafactory_demo" / "mllm_demo_data")) for m in talk.media)
    for name, kind in (("audiocap_comprehension", "audio"), ("cc3m_comprehension", "image")):
        rows = catalog.load("datasets", "messages")(data / "text" / "nextgpt_samples" / f"{name}.json")
        talks = [to_conversation(row.labels["messages"]) for row in rows]
        assert len(talks) > 10 and {m.kind for t in talks for m in t.media} == {kind} and all(len(t.messages) == 2 for t in talks)
    plain = catalog.load("datasets", "messages")(data / "text" / "nextgpt_samples" / "audiocap.json")
    assert plain[0].texts["caption"].startswith("A train running") and "messages" not in plain[0].labels


def test_shards_whose_members_are_the_clips(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        samples = {
            "a.mp4": b"video",
            "a.json": json.dumps({"conversations": HUMAN}).encode(),
            "b.mp4": b"other",
            "b.json": json.dumps({"messages": MARKED}).encode(),
            "c.json": json.dumps({"messages": MARKED[1:]}).encode(),
            "c.mp4": b"x",
        }
        for name, content in samples.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    a, b, _ = catalog.load("datasets", "webdataset")(tmp_path / "0.tar")
    assert a.labels["messages"][0]["content"][0] == {"type": "video", "path": b"video"}
    assert b.labels["messages"][0]["content"][0] == {"type": "video", "path": b"other"} and a.media == b.media == ()


def test_tables_whose_columns_are_the_clips(tmp_path):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict(
        {"image": [{"bytes": b"x", "path": "1.png"}], "messages": [json.dumps([{"role": "user", "content": "<image>What?"}, TOLD[1]])]}
    )
    table.cast_column("image", datasets.Image()).to_parquet(tmp_path / "t.parquet")
    row = catalog.load("datasets", "huggingface")(tmp_path / "t.parquet")[0]
    assert row.media == () and row.labels["messages"][0]["content"][0] == {"type": "image", "path": b"x"}


# Files of rows


def test_a_list_is_read_in_place_like_lines(tmp_path):
    rng = random.Random(0)
    rows = [{"id": f"r{i}", "emotion": rng.choice(["joy", "Ärger", "😀\u2028"]), "split": ("train", "val")[i % 2]} for i in range(40)]
    lines, spaced, tight = (tmp_path / n for n in ("rows.jsonl", "spaced.json", "tight.json"))
    lines.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    spaced.write_text(json.dumps(rows, ensure_ascii=False, indent=2) + "\n", encoding="utf-8-sig")
    tight.write_text(json.dumps(rows, separators=(",", ":")), encoding="utf-8")
    read = [list(catalog.load("datasets", "messages")(p)) for p in (lines, spaced, tight)]
    assert read[0] == read[1] == read[2] and [r.id for r in read[0]] == [r["id"] for r in rows]
    assert [r.id for r in catalog.load("datasets", "messages")(spaced, split="val")] == [r["id"] for r in rows if r["split"] == "val"]
    (tmp_path / "lines.json").write_text(lines.read_text(encoding="utf-8"), encoding="utf-8")
    assert list(catalog.load("datasets", "messages")(tmp_path / "lines.json")) == read[0], "a row a line, whatever the file is called"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[{"a": 1}, {"b": ]', "row 2: Expecting value"),
        ('[{"a": 1} {"b": 2}]', "its list ends behind row 1"),
        ('[{"a": 1}', "ends behind row 1"),
        ("[1]", "row 1: int, wanted an object"),
        ("[" * 100_000, "row 1: "),
        ('[{"a": 1},]', "row 2: Expecting value"),
        ("  [ ]", "has no rows"),
    ],
)
def test_lists_that_are_none(tmp_path, text, found):
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(DatasetError) as error:
        catalog.load("datasets", "messages")(tmp_path / "rows.json")
    assert found in error.value.found


def test_lines_of_thousands_of_brackets_are_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"split": ' + "[" * 200_000 + "\n")
    with pytest.raises(DatasetError, match="row 1: not JSON"):
        catalog.load("datasets", "messages")(tmp_path / "rows.jsonl", split="train")[0]


TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}


def factory(root, **sets):
    """LLaMA-Factory's folder of data: name -> (entry, rows); the file is written where there are rows."""
    for entry, rows in sets.values():
        if rows is not None:
            (root / entry["file_name"]).write_text(json.dumps(rows))
    (root / "dataset_info.json").write_text(json.dumps({name: entry for name, (entry, _) in sets.items()}))
    return catalog.load("datasets", "llamafactory")


def test_the_sets_of_a_llamafactory_folder_are_one_conversation_by_what_its_info_tells(tmp_path, caplog):
    openai = {"messages": [{"role": "system", "content": "Be brief."}, *MARKED], "videos": ["a.mp4"]}
    swapped = [{"who": "person", "says": "<video>What?"}, {"who": "bot", "says": "A dog."}]
    read = factory(
        tmp_path,
        demo=({"file_name": "demo.json", "formatting": "sharegpt", "columns": {"messages": "messages", "videos": "videos"}, "tags": TAGS},
              [openai]),
        alpaca=({"file_name": "alpaca.json"}, [{"instruction": "Say", "input": "it.", "output": "It.", "history": [["Hi", "Ho"]]}]),
        own=({"file_name": "own.json", "columns": {"prompt": "q", "response": "r", "videos": "clips", "system": "s"}},
             [{"q": "<video>What?", "r": "A dog.", "clips": ["a.mp4"], "s": "Be brief.", "input": "no column of it"}]),
        chat=({"file_name": "chat.json", "formatting": "sharegpt",
               "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "person", "assistant_tag": "bot"}},
              [{"conversations": swapped, "videos": ["a.mp4"], "split": "val", "group": "g"}]),
        hub=({"hf_hub_url": "someone/something"}, None),
        better=({"file_name": "better.json", "ranking": True}, [{"instruction": "a", "chosen": "b", "rejected": "c"}]),
        texts=({"file_name": "texts.json", "columns": {"prompt": "text"}}, [{"text": "Once upon a time"}]),
        table=({"file_name": "table.parquet"}, None),
        gone=({"file_name": "gone.json"}, None),
    )  # fmt: skip
    rows = read(tmp_path)
    assert [row.id for row in rows] == ["demo/1", "alpaca/1", "own/1", "chat/1"] and (rows[3].split, rows[3].group) == ("val", "g")
    shown = [{"type": "video", "path": str(tmp_path / "a.mp4")}, {"type": "text", "text": "What?"}]
    told, system = [{"role": "user", "content": shown}, TOLD[1]], [{"role": "system", "content": "Be brief."}]
    assert [rows[n].labels["messages"] for n in (0, 3)] == [system + told, told]
    assert rows[2].labels["messages"][:1] == system
    assert [(m["role"], m["content"]) for m in rows[1].labels["messages"]] == [
        ("user", "Hi"), ("assistant", "Ho"), ("user", "Say\nit."), ("assistant", "It."),
    ]  # fmt: skip
    said = caplog.text
    for name, why in (("hub", "lies on a hub"), ("better", "preferred"), ("texts", "gone on"), ("table", "parquet"), ("gone", "not there")):
        assert any(f"{name} is left out" in line and why in line for line in said.splitlines())
        with pytest.raises(DatasetError, match=f"'{name}': .*{why}"):
            read(tmp_path, names=[name])
    assert [row.id for row in read(tmp_path / "dataset_info.json", names=["own", "demo"])] == ["own/1", "demo/1"]
    assert len(read(tmp_path, split="train")) == 3 and len(read(tmp_path, split="val")) == 4, "rows that say no split are of any"
    with pytest.raises(IndexError):
        rows[4]
    inside = read(tmp_path, names=["demo"], root=tmp_path / "clips")
    with pytest.raises(DatasetError, match=r"row 1: .* leads out of"):
        inside[0]


def test_broken_llamafactory_folders_are_named(tmp_path):
    read = factory(tmp_path, a=({"file_name": "a.json"}, [{"instruction": "a"}, {"prompt": "a", "output": "b"}]))
    for index in (0, 1):
        with pytest.raises(DatasetError, match=rf"a\.json, row {index + 1}: its keys are .*wanted instruction and output as texts"):
            read(tmp_path)[index]
    strange = {"conversations": [{"from": {"a": 1}, "value": "b"}]}
    factory(tmp_path, a=({"file_name": "a.json", "formatting": "sharegpt"}, [{"conversations": MARKED}, {"messages": []}, strange]))
    with pytest.raises(DatasetError, match=r"row 1: a turn is .*wanted from \(one of human, gpt"):
        read(tmp_path)[0]
    with pytest.raises(DatasetError, match="row 3: a turn is "):
        read(tmp_path)[2]
    with pytest.raises(DatasetError, match="row 2: no list 'conversations'"):
        read(tmp_path)[1]
    with pytest.raises(DatasetError, match="names no set 'b'"):
        read(tmp_path, names=["b"])
    one, two = '{"a": {"file_name": "b"}, "c": 1}', '{"a": {"file_name": "b", "columns": {"prompt": 1}}}'
    for text, said in (('{"a": {"features": {}}}', "names no files"), (one, "'c' is 1"), (two, "'a' is"), ("[]", "no object")):
        (tmp_path / "dataset_info.json").write_text(text)
        with pytest.raises(DatasetError, match=said):
            read(tmp_path)
    factory(tmp_path, a=({"file_name": "gone.json"}, None))
    with pytest.raises(DatasetError, match="none of its sets can be read"):
        read(tmp_path)
    with pytest.raises(DatasetError, match="holds no dataset_info"):
        (tmp_path / "dataset_info.json").unlink()
        read(tmp_path)
