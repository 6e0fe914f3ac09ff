"""Readers of published conversations and rationales: tiny trees in the official layouts, what is missing, and what is wrong in them."""

import json
import pickle

import pytest

from tests.datasets.test_readers import put, read, touch
from unifusion import catalog
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError
from unifusion.processor.messages import to_conversation

BUS = [{"from": "human", "value": "<image>\nWhat colour is the bus?"}, {"from": "gpt", "value": "White and red."}]
LONG = [*BUS, {"from": "human", "value": "Is it moving?"}, {"from": "gpt", "value": "No."}]
TEXT = [{"from": "human", "value": "How is <image> written in HTML?"}, {"from": "gpt", "value": "As <img>."}]
DRUMS = {"q": "What is <video> about?", "a": "A man plays the drums.", "video_id": "v_k_ZXmr8pmrs"}
CONVERTED = {
    "id": "v_9lZi22qLlEo",
    "video": "v_9lZi22qLlEo.pkl",
    "conversations": [{"from": "human", "value": "What is seen?\n<video>"}, {"from": "gpt", "value": "A cat."}],
}


def put_json(path, content):
    put(path, json.dumps(content))


def llava_instruct(root):
    rows = [
        {"id": "000000033471", "image": "coco/train2017/000000033471.jpg", "conversations": BUS},
        {"id": "000000033471", "image": "coco/train2017/000000033471.jpg", "conversations": LONG},
        {"id": "wx0", "model": "", "conversations": TEXT},
        {"id": "000000000009", "image": "000000000009.jpg", "conversations": BUS},
    ]
    put_json(root / "llava_v1_5_mix665k.json", rows)
    touch(root, "coco/train2017/000000033471.jpg")


def videoinstruct(root):
    put_json(root / "VideoInstruct100K.json", [DRUMS, {**DRUMS, "q": "Who?"}, CONVERTED])
    touch(root, "activitynet/v_k_ZXmr8pmrs.mkv")


def valley(root):
    talk = [{"from": "human", "value": "<video>\nWhat is the man doing?"}, {"from": "gpt", "value": "He lifts weights."}]
    rows = [
        {"id": "a1", "video": "aJfIBb4XIzg_000012_000022.mp4", "source": "VATEX", "conversations": talk},
        {"id": "a2", "video": "aJfIBb4XIzg_000030_000040", "source": "VATEX", "conversations": BUS},
        {"id": "a3", "video": "1012", "conversations": talk},
        {"id": "a4", "image": ["1.jpg", "2.jpg"], "conversations": [{"from": "human", "value": "<image><image>Same?"}, BUS[1]]},
        {"id": "a5", "conversations": TEXT},
    ]
    put_json(root / "valley_instruct_65k.json", rows)
    touch(root, "VATEX/aJfIBb4XIzg_000012_000022.mp4", "elsewhere/aJfIBb4XIzg_000030_000040.mp4", "1.jpg", "2.jpg")


TREES = {f.__name__: f for f in (llava_instruct, videoinstruct, valley)}


@pytest.fixture(params=TREES)
def name(request):
    return request.param


@pytest.fixture
def tree(name, tmp_path):
    TREES[name](tmp_path)
    return tmp_path


def test_rows_are_conversations_the_same_each_time_and_told_what_is_missing(name, tree, caplog):
    rows = read(name, tree)
    assert (
        isinstance(rows, Dataset) and len(rows) >= 3 and list(rows) == list(read(name, str(tree))) == list(pickle.loads(pickle.dumps(rows)))
    )
    assert rows.missing == 1 and sum(f"1 of {len(rows)} clips are not there" in r.message for r in caplog.records) == 2
    assert len({r.id for r in rows}) == len(rows) and all(r.id.startswith(f"{name}/") and r.group and r.split == "train" for r in rows)
    kept = read(name, tree, only_downloaded=True)
    assert len(kept) == len(rows) - 1 and kept.missing == 0
    for row in kept:
        talk = to_conversation(row.labels["messages"])
        assert talk.media == row.media and talk.messages[-1].supervised
    for wrong in (-1, len(rows)):
        with pytest.raises(IndexError):
            rows[wrong]


def test_a_share_is_held_out_by_clip(name, tree):
    rows = read(name, tree, val=0.5)
    assert all(len({r.split for r in rows if r.group == g}) == 1 for g in {r.group for r in rows})
    there = sorted({r.split for r in rows})
    assert sorted(r.id for s in there for r in read(name, tree, split=s, val=0.5)) == sorted(r.id for r in rows)
    with pytest.raises(DatasetError, match="no rows of split 'nonsense'"):
        read(name, tree, split="nonsense")
    with pytest.raises(DatasetError, match="no rows of split 'val'"):
        read(name, tree, split="val")


def test_a_set_that_is_not_there_or_is_broken_says_so(name, tree, tmp_path):
    with pytest.raises(DatasetError) as error:
        read(name, tmp_path / "none")
    assert "got from" in error.value.remedy
    file = next(tree.glob("*.json"))
    for content, found in (("{}", "is no list of objects"), ("[1]", "row 1: int"), ('[{"id": 1}]', "(row|line) 1")):
        file.write_text(content)
        with pytest.raises(DatasetError, match=found):
            list(read(name, tree))
    put(tree / f"{file.name}.gz", "[]")
    file.unlink()
    with pytest.raises(DatasetError, match="is packed"):
        read(name, tree)


def test_docstrings_say_source_licence_layout_and_a_raw_row(name):
    text = " ".join((catalog.load("datasets", name).__doc__ or "").split())
    assert all(word in text for word in ("Source:", "Licence:", "ayout on disk:", "raw row", "group", "split:"))


def test_llava_instruct(tmp_path):
    llava_instruct(tmp_path)
    bus, longer, text, missing = read("llava_instruct", tmp_path)
    assert bus.texts == {"question": "What colour is the bus?", "answer": "White and red."} and "question" not in longer.texts
    assert bus.media[0].kind == "image" and bus.media[0].source.endswith("train2017/000000033471.jpg") and bus.group == longer.group
    assert text.media == () and text.texts["question"] == "How is <image> written in HTML?" and text.group == "llava/text/wx0"
    assert missing.media == () and missing.labels["messages"][0]["content"][0]["path"] == str(tmp_path / "000000000009.jpg")
    (tmp_path / "pictures").mkdir()
    assert read("llava_instruct", tmp_path / "llava_v1_5_mix665k.json", media=tmp_path / "pictures").missing == 3
    with pytest.raises(DatasetError, match="is no folder"):
        read("llava_instruct", tmp_path, media=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"image": "../../etc/passwd.jpg", "conversations": BUS}, "is no name of a file"),
        ({"image": "/etc/x.jpg", "conversations": BUS}, "is no name"),
        ({"image": 7, "conversations": BUS}, "7 is no name"),
        ({"image": "a.jpg", "conversations": TEXT[1:]}, "names 1 image file"),
        ({"image": "a.jpg", "conversations": "x"}, "no conversations"),
        ({"image": "a.jpg", "conversations": [*BUS, 3]}, "a turn is 3"),
    ],
)
def test_llava_rows_that_are_none(tmp_path, row, found):
    touch(tmp_path, "a.jpg")
    put_json(tmp_path / "llava_instruct_80k.json", [{"image": "a.jpg", "conversations": BUS}, row])
    with pytest.raises(DatasetError) as error:
        list(read("llava_instruct", tmp_path))
    assert found in error.value.found and "row 2" in error.value.found


def test_videoinstruct(tmp_path):
    videoinstruct(tmp_path)
    drums, who, cat = read("videoinstruct", tmp_path)
    assert (
        drums.texts == {"question": "What is <video> about?", "answer": "A man plays the drums."}
        and who.group == drums.group == "k_ZXmr8pmrs"
    )
    assert drums.media[0].source.endswith("activitynet/v_k_ZXmr8pmrs.mkv") and cat.media == ()
    shown = cat.labels["messages"][0]["content"]
    assert [p["type"] for p in shown] == ["text", "video"] and shown[1]["path"] == str(tmp_path / "v_9lZi22qLlEo.mp4")
    assert cat.texts == {"question": "What is seen?", "answer": "A cat."}
    for row, found in (
        ({"q": "a", "video_id": "v_1"}, "neither q and a"),
        ({**DRUMS, "video_id": "../x"}, "'../x'"),
        ({"q": "a", "a": "b"}, "''"),
    ):
        put_json(tmp_path / "VideoInstruct100K.json", [row])
        with pytest.raises(DatasetError) as error:
            list(read("videoinstruct", tmp_path))
        assert found in error.value.found


def test_valley(tmp_path):
    valley(tmp_path)
    lifts, bus, missing, same, text = read("valley", tmp_path)
    assert lifts.group == bus.group == "aJfIBb4XIzg" and lifts.labels["source"] == "VATEX"
    assert [r.media[0].kind for r in (lifts, bus)] == ["video", "video"], "<image> stands for the video, too"
    assert bus.media[0].source.endswith("elsewhere/aJfIBb4XIzg_000030_000040.mp4")
    assert missing.labels["messages"][0]["content"][0]["path"] == str(tmp_path / "webvid" / "1012.mp4") and missing.group == "valley/1012"
    assert [m.kind for m in same.media] == ["image", "image"] and text.media == () and text.group == "valley/text/a5"


# Emotions with reasons

REASONS = 'names,emotions,subtitles,reasons\nsample_1,happy,"Yes, I do","She smiles, so she is happy."\n'
REASONS += "sample_9,\"['angry', 'sad']\",No,A frown\n"


def test_emer(tmp_path, caplog):
    with pytest.raises(DatasetError, match=r"holds none of gt-eng\.csv, final-EMER-reason\.csv.*AffectGPT"):
        read("emer", tmp_path)
    put(tmp_path / "gt-eng.csv", REASONS)
    put(tmp_path / "more" / "final-EMER-reason.csv", 'name,chinese,english\nsample_9,皱眉,"He frowns."\nsample_8,微笑,A grin.\n')
    touch(tmp_path, "video/sample_1.avi", "video/._sample_9.mp4")
    smile, frown, grin = read("emer", tmp_path)
    assert smile.texts == {"transcript": "Yes, I do", "rationale": "She smiles, so she is happy."} and smile.labels["emotion"] == "happy"
    assert smile.media[0].transcript == "Yes, I do" and frown.media == () and "2 of 3 clips" in caplog.text
    assert frown.labels["emotions"] == ("angry", "sad") and "emotion" not in frown.labels
    assert frown.texts == {"transcript": "No", "rationale": "A frown", "rationale_chinese": "皱眉"}
    assert grin.texts["rationale"] == "A grin." and "emotions" not in grin.labels
    assert {r.split for r in (smile, frown, grin)} == {"test"} and (smile.id, smile.group) == ("emer/sample_1", "mer/sample_1")
    assert [r.id for r in read("emer", tmp_path, only_downloaded=True)] == ["emer/sample_1"]
    with pytest.raises(DatasetError, match="no rows of split 'train'"):
        read("emer", tmp_path, split="train")


def test_merr(tmp_path, caplog):
    with pytest.raises(DatasetError, match=r"holds none of MERR_coarse_grained\.txt.*Emotion-LLaMA"):
        read("merr", tmp_path)
    put(tmp_path / "MERR_coarse_grained.txt", "sample_47 85 happy\n\nsample_48 20 doubt\n")
    put(tmp_path / "MERR_fine_grained.txt", "sample_47 85 happy\nsample_50 9 sad\n")
    put_json(tmp_path / "MERR_coarse_grained.json", {"sample_47": {"caption": "A smile."}})
    put_json(tmp_path / "MERR_fine_grained.json", {"sample_47": {"smp_reason_caption": "She smiles, so .."}})
    put(tmp_path / "transcription_en_all.csv", "name,sentence\nsample_47,Yes\n")
    touch(tmp_path, "video/sample_47.mp4")
    rows = read("merr", tmp_path)
    assert [(r.id, r.labels["emotion"]) for r in rows] == [
        ("merr/sample_47", "happy"),
        ("merr/sample_48", "doubt"),
        ("merr/sample_50", "sad"),
    ]
    assert (
        rows[0].texts == {"caption": "A smile.", "rationale": "She smiles, so ..", "transcript": "Yes"} and rows[0].group == "mer/sample_47"
    )
    assert rows[0].media and "2 of 3 clips" in caplog.text and {r.split for r in rows} <= {"train", "val"}
    assert [r.id for r in read("merr", tmp_path, fine=True)] == ["merr/sample_47", "merr/sample_50"]
    assert [r.id for r in read("merr", tmp_path, only_downloaded=True)] == ["merr/sample_47"]
    put(tmp_path / "MERR_coarse_grained.txt", "sample_47 85 hapy\n")
    with pytest.raises(DatasetError, match="did you mean 'happy'"):
        read("merr", tmp_path)
