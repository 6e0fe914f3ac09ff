"""Sets as people keep them: a clone of the repository, the copy on the hub, and the names that downloaders give to clips."""

import json

import pytest

from tests.datasets import question_trees, test_instruct_sets
from tests.datasets.question_trees import SRT, frames, put_json
from tests.datasets.test_readers import put, touch
from tests.datasets.trees import TREES, shard
from unifusion import catalog
from unifusion.curation.source import guess, open_source
from unifusion.curation.validating import ValidateOptions, validate
from unifusion.datasets._captioned import cut_names
from unifusion.errors import ConfigError, DatasetError
from unifusion.training.corpus import Corpus

ID = "--9O4XZOge4"


def read(name, path, **options):
    return catalog.load("datasets", name)(path, **{"split": None, **options})


def moved(root, names, folder):
    """Put files of a tree into a folder of it."""
    for name in names:
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).rename(root / folder / name)


CUT = [f"{ID}_{span}" for span in ("000030", "30", "30_40", "30-40", "30.0", "30.0_40.0", "30.000_40.000", "30000_40000", "000030_000040")]


@pytest.mark.parametrize("clip", [*CUT, ID])
@pytest.mark.parametrize("name", ["vggsound", "avqa", "audiocaps", "audioset"])
def test_clips_of_youtube_under_every_name_a_downloader_gives(name, clip, tmp_path):
    if name == "vggsound":
        put(tmp_path / "vggsound.csv", f"{ID},30,people marching,train\n")
    elif name == "avqa":
        question_trees.avqa(tmp_path)
        rows = json.loads((tmp_path / "train_qa.json").read_text())[:1]
        (tmp_path / "val_qa.json").unlink()
        put_json(tmp_path / "train_qa.json", [{**rows[0], "video_name": f"{ID}_000030"}])
    elif name == "audiocaps":
        put(tmp_path / "train.csv", f"audiocap_id,youtube_id,start_time,caption\n91139,{ID},30,Water pours\n")
    else:
        put(tmp_path / "eval_segments.csv", f'# a\n# b\n# c\n{ID}, 30.000, 40.000, "/m/09x0r"\n')
        put(tmp_path / "class_labels_indices.csv", 'index,mid,display_name\n0,/m/09x0r,"Speech"\n')
    own = [clip] if name in ("vggsound", "avqa") else [clip, f"Y{clip}"] if name == "audioset" or clip == ID else [clip]
    for file in own:
        touch(tmp_path, f"clips/{file}.wav")
        (row,) = read(name, tmp_path)
        whole = clip == ID and name in ("vggsound", "avqa")
        assert (row.media[0].start_s, row.media[0].end_s) == ((30.0, 40.0) if whole else (None, None))
        assert row.media[0].source.endswith(f"clips/{file}.wav")
        (tmp_path / "clips" / f"{file}.wav").unlink()
    assert clip in {ID, *cut_names(ID, 30.0, 40.0)} and len(set(cut_names(ID, 30.0, 40.0))) == 13


@pytest.mark.parametrize(
    ("name", "files", "folder"),
    [
        ("audiocaps", ("train.csv", "val.csv", "test.csv.gz"), "dataset"),
        ("clotho", tuple(f"clotho_captions_{p}.csv" for p in ("development", "validation", "evaluation")), "clotho_csv_files"),
        ("clotho", ("development",), "clotho_audio_files"),
        ("nextqa", ("train.csv", "test.csv", "map_vid_vidorID.json"), "dataset/nextqa"),
        ("activitynet_qa", tuple(f"{p}_{k}.json" for p in ("train", "val", "test") for k in "qa"), "dataset"),
    ],
)
def test_tables_in_the_folders_of_their_repositories(name, files, folder, tmp_path):
    {**TREES, **question_trees.TREES}[name](tmp_path)
    files = [f for f in files if (tmp_path / f).exists()]
    assert files
    before = read(name, tmp_path)
    wanted = [(r.id, r.split, len(r.media)) for r in before]
    moved(tmp_path, files, folder)
    assert [(r.id, r.split, len(r.media)) for r in read(name, tmp_path)] == wanted and guess(tmp_path) == name


def test_audioset_by_the_ontology_and_in_folders(tmp_path):
    put(tmp_path / "segments" / "eval_segments.csv", f'# a\n# b\n# c\n{ID}, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n')
    classes = [{"id": "/m/0dgw9r", "name": "Human sounds"}, {"id": "/m/09x0r", "name": "Speech"}, {"id": "/t/dd00088", "name": "Gush"}]
    put_json(tmp_path / "ontology.json", classes)
    (row,) = read("audioset", tmp_path)
    assert row.labels["sounds"] == ("Speech", "Gush") and guess(tmp_path) == "audioset"
    twice = [*classes, classes[1]]
    for broken, said in ((twice, "entry 3: '/m/09x0r' 'Speech'"), ([{"id": "/m/1"}], "entry 0: '/m/1' None"), ([{}], "entry 0: no 'id'")):
        put_json(tmp_path / "ontology.json", broken)
        with pytest.raises(DatasetError, match=rf"ontology\.json, {said}"):
            read("audioset", tmp_path)


def test_nextqa_of_the_hub_and_its_open_questions(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    asked = {"video": 4010069381, "frame_count": 369, "question": "how do they play", "qid": 6, "type": "CH"}
    options = {f"a{n}": word for n, word in enumerate(("roll", "tap", "strum", "hit", "pat"))}
    for form, rows in (("MC", [{**asked, "answer": 2, **options}]), ("OE", [{**asked, "answer": "strum", "additional_ref_answer": None}])):
        (tmp_path / form).mkdir()
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / form / "test-00000-of-00001.parquet")
    touch(tmp_path, "NExTVideo/1164/4010069381.mp4")
    (choice,), (open_one,) = read("nextqa", tmp_path), read("nextqa", tmp_path, open_ended=True)
    assert (choice.labels["option"], choice.texts["answer"], choice.split) == (2, "strum", "test") and guess(tmp_path) == "nextqa"
    assert open_one.texts["answer"] == "strum" and "options" not in open_one.labels and "answers" not in open_one.labels
    assert choice.media == open_one.media != ()
    head = "video,frame_count,width,height,question,answer,qid,type,additional_ref_answer\n"
    put(tmp_path / "csv" / "val.csv", head + "1,9,640,480,what is it,dog,0,DO,puppy\n1,9,640,480,how many,two,1,DC,\n")
    assert [r.labels.get("answers") for r in read("nextqa", tmp_path / "csv")] == [("puppy",), None]
    put(tmp_path / "csv" / "val.csv", head + "../1,9,640,480,what is it,dog,0,DO,puppy\n")
    with pytest.raises(DatasetError, match=r"val\.csv, line 2: '\.\./1'"):
        read("nextqa", tmp_path / "csv")
    put(tmp_path / "csv" / "val.csv", "video,question,answer,qid,type,a0\n1,what is it,0,0,DO,dog\n")
    with pytest.raises(DatasetError, match=r"val\.csv, line 2: no 'a1'"):
        read("nextqa", tmp_path / "csv")


def test_tvqa_finds_videos_in_any_folder_and_lists_no_frames(tmp_path):
    question_trees.tvqa(tmp_path)
    rows = read("tvqa", tmp_path)
    name = next(r.group.removeprefix("tvqa/") for r in rows if not r.media)
    touch(tmp_path, f"tvqa_videos/{name}.mp4")
    frames(tmp_path / "frames_hq" / "other_frames" / "other_clip")
    touch(tmp_path, "frames_hq/other_frames/other_clip/castle.mp4")
    found = [r for r in read("tvqa", tmp_path) if r.group == f"tvqa/{name}"]
    assert all(r.media[0].source == str(tmp_path / "tvqa_videos" / f"{name}.mp4") for r in found)
    assert "castle" not in read("tvqa", tmp_path).downloads.names()


def test_tvqa_rows_without_time_stamps_show_the_whole_clip(tmp_path):
    question_trees.tvqa(tmp_path)
    path = tmp_path / "tvqa_qa_release" / "tvqa_train.jsonl"
    first, *rest = (json.loads(line) for line in path.read_text().splitlines())
    for stamped in ({}, {"ts": None}):
        bare = {k: v for k, v in first.items() if k != "ts"} | stamped
        put(path, "".join(json.dumps(row) + "\n" for row in (bare, *rest)))
        row = next(r for r in read("tvqa", tmp_path, split="train") if r.id == f"tvqa/{first['qid']}")
        assert "start_s" not in row.labels and all(m.start_s is None for m in row.media) and row.media


def test_video_mme_with_subtitles_in_the_plural(tmp_path):
    question_trees.video_mme(tmp_path)
    (tmp_path / "subtitle").rename(tmp_path / "subtitles")
    for path in (tmp_path / "subtitles").iterdir():
        path.write_text(SRT)
    assert any("(Robin:)Here." in row.texts.get("transcript", "") for row in read("video_mme", tmp_path))


def test_merr_by_its_json_alone(tmp_path):
    put_json(tmp_path / "MERR_coarse_grained.json", {n: {"pseu_emotion": e, "caption": n} for n, e in (("s1", "happy"), ("s2", "doubt"))})
    put_json(tmp_path / "MERR_fine_grained.json", {"s1": {"pseu_emotion": "happy", "smp_reason_caption": "because"}})
    rows = read("merr", tmp_path)
    assert [(r.id, r.labels["emotion"], r.texts) for r in rows] == [
        ("merr/s1", "happy", {"caption": "s1", "rationale": "because"}), ("merr/s2", "doubt", {"caption": "s2"}),
    ]  # fmt: skip
    assert [r.id for r in read("merr", tmp_path, fine=True)] == ["merr/s1"] and guess(tmp_path) == "merr"
    for entry, said in (({"caption": "x"}, "s3: no 'pseu_emotion'"), ({"pseu_emotion": "glad"}, "s3: 'glad' is none"), (1, "no object of")):
        put_json(tmp_path / "MERR_coarse_grained.json", {"s3": entry})
        with pytest.raises(DatasetError, match=said):
            read("merr", tmp_path)


def test_pictures_of_llava_below_the_json(tmp_path):
    test_instruct_sets.llava_instruct(tmp_path)
    table = next(tmp_path.glob("*.json"))
    rows = json.loads(table.read_text())
    alone = next(r["image"] for r in rows if "/" not in r.get("image", "/"))
    for path in tmp_path.rglob(alone):
        path.unlink()
    assert not any(m.source.endswith(alone) for r in read("llava_instruct", tmp_path) for m in r.media)
    touch(tmp_path, f"train2017/{alone}")
    assert any(m.source == str(tmp_path / "train2017" / alone) for r in read("llava_instruct", tmp_path) for m in r.media)


def test_valley_knows_clips_of_vatex_by_their_id_and_cuts_whole_videos(tmp_path):
    talk = [{"from": "human", "value": "<video>\nWhat?"}, {"from": "gpt", "value": "Lifting."}]
    ids = [f"{letter}JfIBb4XIzg_000012_000022" for letter in "abc"]
    put_json(
        tmp_path / "valley_instruct_65k.json",
        [{"id": i, "v_id": i, "video": f"{i[:11]}.mp4", "source": "VATEX", "conversations": talk} for i in ids]
        + [{"id": "j", "v_id": "123", "video": "000123.mp4", "source": "jukinmedia", "conversations": talk}]
        + [{"id": "t", "v_id": ids[0], "conversations": [{**talk[0], "value": "What?"}, talk[1]]}],
    )
    touch(tmp_path, f"VATEX/{ids[0]}.mp4", f"VATEX/{ids[0][:11]}.mp4", f"raw/{ids[1][:11]}.mp4", "jukinmedia/000123.mp4")
    cut, whole, none, other, text = read("valley", tmp_path)
    assert text.media == () and text.texts["question"] == "What?"
    assert cut.media[0].source.endswith(f"{ids[0]}.mp4") and cut.media[0].start_s is None and cut.group == ids[0][:11]
    assert (whole.media[0].start_s, whole.media[0].end_s, whole.group) == (12.0, 22.0, ids[1][:11])
    part = whole.labels["messages"][0]["content"][0]
    assert (part["start_s"], part["end_s"]) == (12.0, 22.0)
    assert none.media == () and none.labels["messages"][0]["content"][0]["path"].endswith(f"VATEX/{ids[2]}.mp4")
    assert other.media[0].start_s is None and other.group == "valley/000123"


def test_flickr8k_speech_without_photographs(tmp_path):
    TREES["flickr8k"](tmp_path)
    assert {m.kind for r in read("flickr8k", tmp_path) for m in r.media} == {"image"}
    for path in (tmp_path / "Flicker8k_Dataset").iterdir():
        path.unlink()
    rows = read("flickr8k", tmp_path)
    assert [[m.kind for m in r.media] for r in rows] == [["audio"]] * 3 + [[]] * 3 and rows.missing == 3
    assert all(r.labels["speaker"] == str(n) for n, r in enumerate(rows)) and len(read("flickr8k", tmp_path, only_downloaded=True)) == 3
    assert read("flickr8k", tmp_path, take="pictures").missing == 3


def test_webdataset_has_words_beside_the_row_and_clips_of_two_extensions(tmp_path):
    shard(
        tmp_path / "a.tar",
        {"1.json": b'{"question": "What?"}', "1.txt": b"A dog.\n", "1.left.wav": b"l", "1.right.wav": b"r", "2.json": b'{"caption": "own"}',
         "2.txt": b"other", "3.front.jpg": b"j", "4.txt": b"\xff"},
    )  # fmt: skip
    one, two, three = (read("webdataset", tmp_path)[n] for n in range(3))
    assert one.texts == {"question": "What?", "caption": "A dog."} and [m.source for m in one.media] == [b"l", b"r"]
    assert two.texts == {"caption": "own"} and [(m.kind, m.source) for m in three.media] == [("image", b"j")]
    with pytest.raises(DatasetError, match=r"sample 4: a text is no UTF-8"):
        read("webdataset", tmp_path)[3]


@pytest.mark.parametrize("members", [{"1.flac": b"x", "1.cls": b"3"}, {"1.mp4": b"x", "1.txt": b"a", "1.json": b'{"url": "https://x"}'}])
def test_numbered_shards_of_another_making_are_taken_for_no_set(members, tmp_path):
    shard(tmp_path / "00000.tar", members)
    assert guess(tmp_path) == "webdataset"


def test_nobody_trains_on_an_answer_about_a_clip_that_was_not_downloaded(tmp_path):
    TREES["audiocaps"](tmp_path)
    (tmp_path / "mix.yaml").write_text("sounds: {dataset: audiocaps, path: ., task: caption}\n")
    corpus = Corpus(tmp_path / "mix.yaml", split="train")
    rows = {corpus.name(n): n for n in range(len(corpus))}
    assert corpus.conversation(rows["sounds/audiocaps/r1nicOVtvkQ_130"]).media
    with pytest.raises(DatasetError, match=r"row 'audiocaps/UDGBjjwyaqE_20' of 'sounds' has no clip.*only_downloaded: true"):
        corpus.conversation(rows["sounds/audiocaps/UDGBjjwyaqE_20"])
    (tmp_path / "mix.yaml").write_text("sounds: {dataset: audiocaps, path: ., task: caption, options: {only_downloaded: true}}\n")
    assert [bool(c().media) for _, c in Corpus(tmp_path / "mix.yaml", split="train").in_order()] == [True]


def test_validate_names_rows_whose_clip_was_not_downloaded(tmp_path):
    TREES["audiocaps"](tmp_path)
    lacking = sum(not row.media for row in read("audiocaps", tmp_path))
    assert lacking
    for task, severity in ((None, "warning"), ("caption", "error")):
        account = validate(open_source(tmp_path, task=task), ValidateOptions(depth="none"))
        assert account.kinds[severity, "no_clip"] == lacking == sum(n for (_, kind), n in account.kinds.items() if kind == "no_clip")
    whole = validate(open_source(tmp_path, task="caption", options={"only_downloaded": True}), ValidateOptions(depth="none"))
    assert not any(kind == "no_clip" for _, kind in whole.kinds)


def test_files_that_yt_dlp_gave_two_ends(tmp_path):
    put(tmp_path / "vggsound.csv", f"{ID},30,people marching,train\n")
    touch(tmp_path, f"clips/{ID}_000030.mp4.webm")
    assert read("vggsound", tmp_path)[0].media[0].source.endswith(".mp4.webm")
    touch(tmp_path, f"clips/{ID}_000030.mp4")
    assert read("vggsound", tmp_path)[0].media[0].source.endswith("_000030.mp4"), "mp4 is preferred"


def test_videoinstruct_as_video_llava_has_it(tmp_path):
    talk = [{"from": "human", "value": "<video>\nWhat?"}, {"from": "gpt", "value": "Drums."}]
    put_json(tmp_path / "videochatgpt_tune_.json", [{"id": 1, "video": "videochatgpt_tune/v_k_ZXmr8pmrs.mp4", "conversations": talk}])
    touch(tmp_path, "videochatgpt_tune/v_k_ZXmr8pmrs.mp4")
    (row,) = read("videoinstruct", tmp_path)
    assert row.group == "k_ZXmr8pmrs" and row.media[0].source.endswith("videochatgpt_tune/v_k_ZXmr8pmrs.mp4")
    assert guess(tmp_path) == "videoinstruct"


def test_a_folder_with_tables_of_no_known_set_is_not_taken_for_classes_of_clips(tmp_path):
    touch(tmp_path, "clips/a.wav")
    assert guess(tmp_path) == "folder"
    put_json(tmp_path / "mine.json", [])
    with pytest.raises(ConfigError, match=r"holds tables of no known set; name one of its files \(mine\.json\)"):
        guess(tmp_path)
    put(tmp_path / "labels.csv", "path,label\nclips/a.wav,happy\n")
    assert guess(tmp_path) == "folder", "this table is its own"
    (tmp_path / "labels.csv").unlink()
    put(tmp_path / "manifest.jsonl", '{"path": "clips/a.wav", "label": "hitting baseball"}\n')
    assert guess(tmp_path) == "folder", "and none of ESC-10"
    put_json(tmp_path / "dataset_info.json", {})
    assert guess(tmp_path / "dataset_info.json") == "llamafactory"
