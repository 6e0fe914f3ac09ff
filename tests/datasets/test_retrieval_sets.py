"""Readers of clips with captions: what official rows mean, shards of img2dataset and video2dataset, what is broken or hostile."""

import json
import shutil
import tarfile
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets.test_emotion_sets import POINTER
from tests.datasets.test_readers import put, read, touch
from tests.datasets.trees import TREES, WEBVID, YOUTUBE, downloaded, picture, shard, stemmed
from unifusion.errors import DatasetError

WATCH = "https://www.youtube.com/watch?v="


@pytest.fixture
def tree(request, tmp_path):
    """The tree of the reader whose name the test begins with."""
    TREES[request.node.name.split("_")[1]](tmp_path)
    return tmp_path


def edit(path, old, new, count=1):
    text = path.read_text(encoding="utf-8")
    assert old in text
    put(path, text.replace(old, new, count))


def refuses(name, root, match, **options):
    with pytest.raises(DatasetError, match=match) as caught:
        list(read(name, root, **options))
    assert caught.value.remedy
    return caught.value


# AudioCaps and Clotho


def test_audiocaps_finds_sounds_by_each_of_their_names(tree):
    rows = {r.id.removeprefix("audiocaps/"): r for r in read("audiocaps", tree)}
    water, ducks = rows["r1nicOVtvkQ_130"], rows["vfY_TJq7n_U_130"]
    assert water.labels == {"captions": ("A woman talks nearby as water pours",), "start_s": 130.0, "end_s": 140.0}
    assert water.media[0].source.endswith("r1nicOVtvkQ_130.wav") and ducks.media[0].source.endswith("97153.wav")
    assert ducks.labels["captions"][4] == "Ducks quack, 4" and (ducks.split, ducks.group) == ("val", "vfY_TJq7n_U")
    touch(tree, "UDGBjjwyaqE.mp4")
    for whole, span in ((False, (None, None)), (True, (20.0, 30.0))):
        (clip,) = {r.group: r for r in read("audiocaps", tree, whole=whole)}["UDGBjjwyaqE"].media
        assert (clip.kind, clip.start_s, clip.end_s) == ("audio", *span)


def test_audiocaps_refuses_rows_it_cannot_mean(tree):
    for old, new, match in (
        ("r1nicOVtvkQ", "../r1nicOVtvkQ", r"train\.csv, line 2: '\.\./r1nicOVtvkQ'; wanted the name of a file"),
        (",130,", ",half,", r"line 2: 'half'; wanted a whole number"),
        (",130,", ",-1,", "line 2: '-1'"),
        (",130,", f",{'9' * 5000},", "line 2: '999"),
        ("water pours", "water, pours", "line 2: too many fields; quote texts with commas"),
        ("A woman talks nearby as water pours", " ", "line 2: a caption is empty"),
        ("A woman", '"A woman', r"train\.csv, line 2: unexpected end of data"),
        ("start_time", "start", "no column 'start_time'"),
    ):
        text = (tree / "train.csv").read_text()
        edit(tree / "train.csv", old, new)
        refuses("audiocaps", tree, match)
        put(tree / "train.csv", text)
    (tree / "test.csv.gz").write_bytes((tree / "test.csv.gz").read_bytes()[:-20])
    refuses("audiocaps", tree, r"test\.csv\.gz: .*; download it again")


def test_clotho_keeps_keywords_licence_and_the_number_on_freesound(tree):
    radio, paper, rain, again = read("clotho", tree)
    assert radio.labels["captions"] == ("A muddled noise.", "A TV blares, loudly.", "Three", "Four", "Five of development")
    assert radio.labels["keywords"] == ("noise", "café", "radio") and radio.labels["licence"].endswith("/by/3.0/")
    assert (radio.group, radio.split, radio.media[0].kind) == ("freesound:4211", "train", "audio")
    assert paper.media == () and paper.group == paper.id and paper.labels["keywords"] == ("paper",)
    assert rain.media[0].source.endswith("validation/Rain.wav") and again.media[0].source.endswith("evaluation/Rain.wav")
    assert (rain.split, again.split) == ("val", "test") and rain.group != again.group


def test_clotho_gives_up_a_sound_of_freesound_that_is_evaluated_too(tree):
    put(tree / "clotho_metadata_evaluation.csv", "file_name,keywords,sound_id,license\nRain.wav,rain,4211,x\n")
    rows = read("clotho", tree)
    assert [r.id.split("/")[1] for r in rows] == ["development", "validation", "evaluation"] and rows.left_out == 1
    assert len(read("clotho", tree, as_published=True)) == 4
    edit(tree / "clotho_captions_evaluation.csv", "Rain.wav", "/etc/passwd")
    refuses("clotho", tree, r"clotho_captions_evaluation\.csv, line 2: '/etc/passwd'; wanted the name of a file, without folders")


# Flickr8k


def test_flickr8k_photographs_of_the_lists(tree):
    train, val, test = read("flickr8k", tree)
    assert train.labels["captions"] == tuple(f"Caption {n} of 1000268201_693b08cb0e ." for n in range(5))
    assert (train.split, val.split, test.split) == ("train", "val", "test") and test.media == ()
    assert train.media[0].kind == "image" and train.media[0].source.endswith("Flicker8k_Dataset/1000268201_693b08cb0e.jpg")


def test_flickr8k_spoken_captions_have_photograph_and_sound(tree):
    rows = read("flickr8k", tree, take="spoken")
    assert [r.id for r in rows][:2] == [f"flickr8k/1000268201_693b08cb0e_{n}.wav" for n in (4, 0)] and len(rows) == 6
    assert [m.kind for m in rows[0].media] == ["image", "audio"] and rows[0].media[1].source.endswith("wavs/1000268201_693b08cb0e_4.wav")
    assert rows[0].texts["caption"] == "Caption 4 of 1000268201_693b08cb0e ." and rows[1].labels["speaker"] == "1"
    assert rows[0].group == rows[1].group != rows[2].group
    assert rows.missing == 3 and [len(r.media) for r in rows] == [2, 2, 2, 1, 0, 0]
    assert len(read("flickr8k", tree, take="spoken", only_downloaded=True)) == 3


def test_flickr8k_as_kaggle_has_it(tmp_path):
    lines = "".join(f'{n}_ab.jpg,"A dog , running"\n{n}_ab.jpg,A dog , sitting\n' for n in range(60))
    put(tmp_path / "captions.txt", "image,caption\n" + lines)
    touch(tmp_path, "Images/7_ab.jpg")
    rows = {r.id: r for r in read("flickr8k", tmp_path)}
    assert len(rows) == 60 and {r.split for r in rows.values()} == {"train", "val", "test"}
    assert rows["flickr8k/7_ab.jpg"].labels["captions"] == ("A dog , running", "A dog , sitting") and rows["flickr8k/7_ab.jpg"].media


def test_flickr8k_says_what_is_wrong(tree):
    token = tree / "Flickr8k_text" / "Flickr8k.token.txt"
    refuses("flickr8k", tree, "did you mean 'spoken'", take="speken")
    for path, old, new, match, options in (
        (token, "#1\t", "\t", r"token\.txt, line 2: '1000268201_693b08cb0e\.jpg.*wanted <image>\.jpg#<n>", {}),
        (token, "1000268201_693b08cb0e.jpg#1", "../1000268201_693b08cb0e.jpg#1", r"line 2: '\.\./1000268201", {}),
        (token, "#1\t", "#0\t", r"line 2: 1000268201_693b08cb0e\.jpg#0 is there twice", {}),
        (token, "#0\tCaption", "#9\tCaption", r"wav2capt\.txt, line 2: no caption", {"take": "spoken"}),
        (tree / "flickr_audio" / "wav2capt.txt", " #4", "", "line 1: '1000268201_693b08cb0e_4.wav", {"take": "spoken"}),
        (tree / "flickr_audio" / "wav2spk.txt", " 0", " zero", r"wav2spk\.txt, line 1", {"take": "spoken"}),
        (tree / "Flickr8k_text" / "Flickr_8k.devImages.txt", "1001773457_577c3a7d70", "1000268201_693b08cb0e", "is in train too", {}),
    ):
        text = path.read_text()
        edit(path, old, new)
        refuses("flickr8k", tree, match, **options)
        put(path, text)
    (tree / "Flickr8k_text" / "Flickr_8k.testImages.txt").unlink()
    refuses("flickr8k", tree, r"lacks Flickr_8k\.testImages\.txt")
    shutil.rmtree(tree / "flickr_audio")
    for part in ("train", "dev"):
        (tree / "Flickr8k_text" / f"Flickr_8k.{part}Images.txt").unlink()
    refuses("flickr8k", tree, r"holds none of wav2capt\.txt", take="spoken")


# MSR-VTT


def test_msrvtt_1k_a_gives_up_rows_of_train_whose_video_is_tested(tree):
    rows = read("msrvtt", tree)
    first, _, _, test = rows
    assert [r.id for r in rows] == [f"msrvtt/video{n}" for n in (7000, 7001, 7007, 7005)] and rows.left_out == 1
    assert (test.split, test.texts["caption"], test.labels["captions"]) == ("test", "a person is connecting", ("a person is connecting",))
    assert len(first.labels["captions"]) == 20 and first.labels["label"] == "vehicles" and first.labels["start_s"] == 137.72
    assert first.media[0].source.endswith("videos/all/video7000.mp4") and first.media[0].start_s is None
    assert (first.group, test.group) == (YOUTUBE[0], YOUTUBE[4])
    whole = read("msrvtt", tree, as_published=True)
    assert len(whole) == 5 and {r.group for r in whole} == {r.id for r in whole} and whole.left_out == 0


def test_msrvtt_in_full_and_the_files_of_2016(tree):
    rows = read("msrvtt", tree, protocol="full")
    assert Counter(r.split for r in rows) == {"train": 2, "val": 1, "test": 2} and all(len(r.labels["captions"]) == 20 for r in rows)
    told = json.loads((tree / "msrvtt_data" / "MSRVTT_data.json").read_text())
    for name, test in (("train_val_videodatainfo.json", False), ("test_videodatainfo.json", True)):
        kept = [v for v in told["videos"] if (v["split"] == "test") == test]
        said = [c for c in told["sentences"] if c["video_id"] in {v["video_id"] for v in kept}]
        put(tree / name, json.dumps({"videos": kept, "sentences": said}))
    (tree / "msrvtt_data" / "MSRVTT_data.json").unlink()
    assert (
        sorted(read("msrvtt", tree, protocol="full"), key=lambda r: r.id) == sorted(rows, key=lambda r: r.id)
        and len(read("msrvtt", tree)) == 4
    )


def test_msrvtt_the_test_part_of_1k_a_alone_is_enough_for_zero_shot(tree):
    for name in ("MSRVTT_data.json", "MSRVTT_train.9k.csv"):
        (tree / "msrvtt_data" / name).unlink()
    (row,) = read("msrvtt", tree)
    assert row.group == row.id == "msrvtt/video7005" and row.media
    refuses("msrvtt", tree, r"holds none of MSRVTT_train\.9k\.csv.*got from", split="train")
    refuses("msrvtt", tree, "did you mean '1k-A'", protocol="1kA")


def test_msrvtt_says_what_is_wrong(tree):
    data, test = tree / "msrvtt_data" / "MSRVTT_data.json", tree / "msrvtt_data" / "MSRVTT_JSFUSION_test.csv"
    for path, old, new, match in (
        (data, '"video_id": "video7000"', '"video_id": "../video7000"', r"video 0: video_id '\.\./video7000'"),
        (data, '"caption": "a car is shown 0"', '"caption": 7', r"sentence 0: 7 of video7000"),
        (data, '"category": 9', '"category": "9"', "category '9'; wanted a number from 0 to 19"),
        (data, "137.72", "150", "from 150 to 149.44"),
        (data, "149.44", "9" * 400, "from 137.72 to 999"),
        (data, "149.44", "9" * 5000, r"MSRVTT_data\.json is no annotation: Exceeds the limit"),
        (data, '"split": "train"', '"split": "dev"', "'dev' is none of its labels"),
        (data, '"sentences": [', '"sentences": 3, "x": [', "sentences is no list of objects"),
        (data, "{", "", r"MSRVTT_data\.json, line 1"),
        (test, "video7005", "7005", r"JSFUSION_test\.csv, line 2: video_id '7005'"),
        (test, "a person", "a person, too", "line 2: too many fields"),
    ):
        text = path.read_text()
        edit(path, old, new)
        refuses("msrvtt", tree, match, protocol="full" if path == data else "1k-A")
        put(path, text)
    touch(tree, "other/video7000.mp4")
    refuses("msrvtt", tree, "video7000.mp4 have one name")


# VGGSound


def test_vggsound_clips_and_spans_of_whole_videos(tree):
    rows = {r.id.removeprefix("vggsound/"): r for r in read("vggsound", tree)}
    march, speech, tennis = (rows[f"{YOUTUBE[n]}_{start:06}"] for n, start in ((0, 1), (1, 30), (2, 185)))
    assert march.split == "test" and march.media[0].start_s is None and march.media[0].source.endswith("_000001.mp4")
    assert speech.labels["label"] == speech.texts["caption"] == "female speech, woman speaking" and speech.media == ()
    assert (tennis.media[0].kind, tennis.media[0].start_s, tennis.media[0].end_s) == ("video", 185.0, 195.0)
    assert f"{YOUTUBE[0]}_000040" not in rows and len(read("vggsound", tree, as_published=True)) == 4
    touch(tree, f"audio/{YOUTUBE[0]}_000001.wav")
    assert [r.media[0].kind for r in read("vggsound", tree, take="audio") if r.media] == ["audio", "audio"]
    assert [r.media[0].kind for r in read("vggsound", tree) if r.media] == ["video", "video"]


def test_vggsound_by_the_lists_of_its_repository(tmp_path):
    put(tmp_path / "test.csv", f'{YOUTUBE[0]}_000300.mp4,playing hammond organ\n{YOUTUBE[1]}_000049.mp4,"heart sounds, heartbeat"\n')
    put(tmp_path / "stat.csv", 'playing hammond organ,1050,music\n"heart sounds, heartbeat",300,others\n')
    organ, heart = read("vggsound", tmp_path)
    assert (organ.id, organ.labels["start_s"], heart.labels["label"]) == (f"vggsound/{YOUTUBE[0]}_000300", 300.0, "heart sounds, heartbeat")
    refuses("vggsound", tmp_path, r"holds none of vggsound\.csv", split="train")
    edit(tmp_path / "test.csv", "playing hammond organ", "playing hamond organ")
    refuses("vggsound", tmp_path, r"test\.csv, line 1: 'playing hamond organ' is none of its labels; did you mean 'playing hammond organ'")
    edit(tmp_path / "test.csv", "_000300", "_300")
    refuses("vggsound", tmp_path, "line 1: .*wanted {YouTube id}_{start, 6 digits}")


def test_the_real_list_of_vggsound(data):
    rows = read("vggsound", data / "text" / "vggsound")
    assert len(rows) == 15446 == rows.missing and {r.split for r in rows} == {"test"} and len({r.labels["label"] for r in rows}) == 309
    assert len({r.group for r in rows}) < len(rows)  # a video may give several clips


def test_vggsound_says_what_is_wrong(tree):
    for old, new, match in (
        (YOUTUBE[0], "-1.2E+05", r"vggsound\.csv, line 1: '-1\.2E\+05'; wanted a YouTube id"),
        (YOUTUBE[0], "../../../x", "line 1: '../../../x'"),
        (",1,", ",1.5,", "line 1: '1.5'; wanted a whole number"),
        ('"female speech, woman speaking"', "female speech, woman speaking", "line 2: too many fields"),
        (",test", ",eval", "line 1: 'eval' is none of its labels"),
        (",test", "", "line 1: too few fields"),
        ("people marching", "", "line 1: a caption is empty"),
    ):
        text = (tree / "vggsound.csv").read_text()
        edit(tree / "vggsound.csv", old, new)
        refuses("vggsound", tree, match)
        put(tree / "vggsound.csv", text)
    put(tree / "video" / f"{YOUTUBE[1]}_000030.mp4", POINTER)
    refuses("vggsound", tree, "pointer of git-lfs")


# what video2dataset wrote


def test_youtube_sets_take_shards_of_video2dataset(tree_of):
    cut, whole = YOUTUBE[1], YOUTUBE[2]
    members = stemmed(
        n000000000_00000=downloaded(f"{WATCH}{cut}", b"cut", clips=[[30.0, 40.0]]),
        n000000001=downloaded(f"https://youtu.be/{whole}", b"whole", clips=None),
        n000000002=downloaded(f"{WATCH}{YOUTUBE[0]}", b"", status="failed_to_download"),
    )
    root = tree_of("vggsound")
    shutil.rmtree(root / "video")
    shard(root / "shards" / "00000.tar", members)
    march, speech, tennis = read("vggsound", root, split=None)
    assert march.media == () and (speech.media[0].source, speech.media[0].start_s) == (b"cut", None)
    assert (tennis.media[0].source, tennis.media[0].start_s, tennis.media[0].end_s) == (b"whole", 185.0, 195.0)
    sound = read("vggsound", root, take="audio")[1].media[0]
    assert (sound.kind, sound.source) == ("audio", b"cut")
    both = downloaded(f"{WATCH}{cut}", b"cut", clips=[[30.0, 40.0]]) | {"m4a": b"its sound"}
    shard(root / "shards" / "00000.tar", stemmed(n000000000_00000=both))
    seen, heard = read("vggsound", root)[1].media
    assert (seen.kind, seen.source, seen.mute) == ("video", b"cut", ("audio",)) and (heard.kind, heard.source, heard.mute) == (
        "audio",
        b"its sound",
        (),
    )
    (sound,) = read("vggsound", root, take="audio")[1].media
    assert (sound.kind, sound.source, sound.mute) == ("audio", b"its sound", ())
    how = tree_of("howto100m")
    shutil.rmtree(how / "videos")
    shard(how / "00000.tar", members)
    first, second, _ = read("howto100m", how)
    assert (first.media[0].source, first.media[0].start_s, second.media[0].start_s) == (b"whole", 0.0, 8.87)
    assert len(read("howto100m", how, only_downloaded=True)) == 2


def test_spans_of_shards_may_be_clock_times_and_shards_may_be_folders(tree_of):
    root = tree_of("audiocaps")
    sample = downloaded(f"{WATCH}UDGBjjwyaqE&t=3", b"sound", end="m4a", clips=[["00:00:20.000", "00:00:30.000"]])
    for name, content in stemmed(n000000007_00000=sample).items():
        (root / "00000").mkdir(exist_ok=True)
        (root / "00000" / name).write_bytes(content)
    (clip,) = {r.group: r for r in read("audiocaps", root)}["UDGBjjwyaqE"].media
    assert (clip.kind, clip.source, clip.start_s) == ("audio", str(root / "00000" / "000000007_00000.m4a"), None)


@pytest.mark.parametrize(("told", "match"), [
    ({"url": 3}, "its .json has no url"), ({"clips": [["a:b", 3]]}, "a clip begins at 'a:b'"),
    ({"clips": [[float("nan"), 3]]}, "begins at nan"),
    ({"clips": [[10**400, 3]]}, "begins at 1000"),
    ({"clips": 30.0}, "clips is 30.0; wanted the span"), ({"clips": [[1, 2], [3, 4]]}, "clips is"),
])  # fmt: skip
def test_shards_that_do_not_say_what_they_hold(tree_of, told, match):
    root = tree_of("vggsound")
    shard(root / "00000.tar", stemmed(n000000000_00000=downloaded(**{"url": f"{WATCH}{YOUTUBE[0]}", **told})))
    refuses("vggsound", root, match)


@pytest.fixture
def tree_of(tmp_path):
    def make(name):
        TREES[name](tmp_path / name)
        return tmp_path / name

    return make


# WebVid


def test_webvid_rows_are_read_from_their_places(tree):
    rows = read("webvid", tree)
    assert [r.id.removeprefix("webvid/") for r in rows] == ["1001", "1002", "21179416", "5629184", "31353427"]
    assert [r.split for r in rows] == ["val", "val", "train", "train", "train"] and rows.left_out == 1  # 1001 is in train as well
    aerial = rows[2]
    assert aerial.texts["caption"] == "Aerial shot, winter 21179416" and aerial.labels["duration_s"] == 16.0
    assert aerial.media[0].source.endswith("videos/006001_006050/21179416.mp4")
    assert [r.id for r in read("webvid", tree, split="train")] == [r.id for r in rows if r.split == "train"]
    touch(tree, "videos/5629184.mp4")
    assert read("webvid", tree)[3].media[0].source.endswith("videos/5629184.mp4")


def test_webvid_takes_shards_by_address_and_tables_of_either_size(tree):
    samples = {f"n00000000{n}": downloaded(WEBVID.format(v), f"{v}".encode()) for n, v in enumerate((31353427, 1001))}
    shard(tree / "00000.tar", stemmed(**samples))
    shard(tree / "shards" / "00001.tar", stemmed(n000010000=downloaded(WEBVID.format(5629184), b"5629184")))
    assert [bool(r.media) for r in read("webvid", tree)] == [True] * 5
    assert [r.media[0].source for r in read("webvid", tree) if isinstance(r.media[0].source, bytes)] == [b"1001", b"5629184", b"31353427"]
    for n in range(2):
        put(tree / "data" / "train" / "partitions" / f"000{n}.csv", (tree / "results_2M_train.csv").read_text().replace("1001", f"77{n}"))
    refuses("webvid", tree, "tables of 2M and of 10M; choose one")
    rows = read("webvid", tree, size="10M")
    assert len(rows) == 5 and rows.left_out == 3 and {r.split for r in rows} == {"train"}  # a row may be in two partitions
    assert len(read("webvid", tree, size="2M")) == 5
    refuses("webvid", tree, "holds no table of 'val'", size="10M", split="val")
    refuses("webvid", tree, "did you mean '10M'", size="11M")


def test_webvid_keeps_lines_quotes_and_further_columns(tmp_path):
    head = "\ufeffvideoid,contentUrl,duration,page_dir,name,page_idx\n"
    put(
        tmp_path / "results_2M_val.csv",
        head + '7,u,PT00H01M05S,,"A ""dam"",\nseen – from above",3\n\n8,u,,000001_000050, Rain ,3\n9,u,,,,3\n',
    )
    dam, rain = rows = read("webvid", tmp_path)
    assert dam.texts["caption"] == 'A "dam",\nseen – from above' and dam.labels["duration_s"] == 65.0
    assert rain.texts["caption"] == "Rain" and "duration_s" not in rain.labels and rows.left_out == 1
    refuses("webvid", tmp_path, "none|no rows with a video", only_downloaded=True)


def test_webvid_says_what_is_wrong(tree):
    table = tree / "results_2M_train.csv"
    for old, new, match in (
        ("21179416,", "x21179416,", r"results_2M_train\.csv, line 2: videoid 'x21179416'"),
        ("006001_006050", "9" * 5000 + "_9", "line 2: page_dir '9999"),
        ("006001_006050", '"006001_006050\n"', "line 3: page_dir"),
        ("006001_006050", "../../etc", r"line 2: page_dir '\.\./\.\./etc'"),
        ("PT00H00M16S", "16", "line 2: duration '16'; wanted PT00H00M20S"),
        ('"Aerial shot, winter 21179416"', "Aerial shot, winter", "line 2: 6 fields; wanted 5"),
        ('winter 5629184"', "winter 5629184", r"train\.csv, line 3: "),
        ("videoid,", "id,", "no column 'videoid'"),
    ):
        text = table.read_text()
        edit(table, old, new)
        refuses("webvid", tree, match)
        put(table, text)
    table.write_bytes(table.read_bytes().replace(b"winter 5629184", b"winter \xff"))
    refuses("webvid", tree, r"train\.csv, line 3: 'utf-8' codec")
    table.write_bytes(b"")
    refuses("webvid", tree, r"train\.csv is empty")


# HowTo100M


def test_howto100m_lines_have_spans_and_categories(tree):
    hey, wheel, other = rows = read("howto100m", tree)
    assert hey.id == f"howto100m/{YOUTUBE[2]}/0" and hey.texts["caption"] == "hey guys “so”" and wheel.texts["caption"] == "take the wheel"
    assert (wheel.media[0].start_s, wheel.media[0].end_s, wheel.labels["start_s"]) == (8.87, 11.9, 8.87) and rows.left_out == 1
    about = {"category_1": "Cars & Other Vehicles", "category_2": "Motorcycles", "rank": 27, "task_id": 52907}
    assert about.items() <= hey.labels.items() and "rank" not in other.labels and other.group == YOUTUBE[3]
    assert [r.id for r in (rows[2], rows[0], rows[1])] == [other.id, hey.id, wheel.id]


def test_howto100m_as_a_file_for_each_video(tree):
    for n, name in ((2, YOUTUBE[2]), (3, YOUTUBE[3])):
        put(tree / "howto100m_captions" / f"{name}.csv", f',start,end,text\n0,0.0,{n}.5,"cut, then glue"\n1,3.0,2.0,backwards\n2,4,5,\n')
    rows = read("howto100m", tree, captions="howto100m_captions")
    assert [r.texts["caption"] for r in rows] == ["cut, then glue"] * 2 and rows.left_out == 4 and rows[1].media[0].end_s == 2.5
    assert len(read("howto100m", tree, captions="howto100m_captions", only_downloaded=True)) == 1
    put(tree / "howto100m_captions" / f"{YOUTUBE[3]}.csv", "start,end,text\n0,x,cut\n")
    refuses("howto100m", tree, r"\.csv, line 2: 'x'; wanted seconds", captions="howto100m_captions")
    put(tree / "howto100m_captions" / f"{YOUTUBE[3]}.csv", "start,end,text\n0,1,cut\n")
    put(tree / "howto100m_captions" / "notes.csv", "start,end,text\n")
    refuses("howto100m", tree, "'notes'; wanted a YouTube id", captions="howto100m_captions")
    refuses("howto100m", tree, "did you mean 'caption.json'", captions="captions.json")


def test_howto100m_json_is_read_piece_by_piece(tree, monkeypatch):
    """With a window of 16 bytes every value is cut, also in the middle of a character."""
    from unifusion.datasets import howto100m

    told = {YOUTUBE[n]: {"start": [0.0] * k, "end": [1.0] * k, "text": [f"é“ü” {n} {i}" for i in range(k)]} for n, k in ((0, 3), (3, 40))}
    put(tree / "caption.json", json.dumps(told, ensure_ascii=False, indent=1))
    whole = list(read("howto100m", tree))
    monkeypatch.setattr(howto100m, "_WINDOW", 16)
    assert list(read("howto100m", tree)) == whole and len(whole) == 43 and whole[-1].texts["caption"] == "é“ü” 3 39"
    monkeypatch.setattr(howto100m, "_MOST", 64)
    refuses("howto100m", tree, r"caption\.json, byte \d+")


@pytest.mark.parametrize(("text", "match"), [
    ("", "caption.json: cannot mmap an empty file"), ("[]", r"byte 0: b'\[\]', wanted \{"), ("{}", "holds no rows; get the captions"),
    ('{"nVbIUDjzWY4": {"start": [0]', "byte 29"), ('{"nVbIUDjzWY4" 3}', "wanted :"),
    ('{"../nVbIUDjz": {}}', "'../nVbIUDjz'; wanted a YouTube"),
    ('{"nVbIUDjzWY4": {"start": [0], "end": [1], "text": []}}', "wanted lists of one length"), ('{"nVbIUDjzWY4": 3}', "wanted lists"),
    ('{"nVbIUDjzWY4": {"start": ["0"], "end": [1], "text": ["a"]}}', "line 0 is 'a' from '0' to 1"),
    ('{"nVbIUDjzWY4": {"start": [0], "end": [true], "text": ["a"]}}', "from 0 to True"),
    ('{"nVbIUDjzWY4": {"start": [0], "end": [1], "text": [{}]}}', r"line 0 is \{\}"),
    ('{"nVbIUDjzWY4": {"start": [0], "end": [1' + "0" * 400 + '], "text": ["a"]}}', "holds no rows"),
    ('{"nVbIUDjzWY4": {"start": [1' + "0" * 5000 + '], "end": [1], "text": ["a"]}}', "Exceeds the limit"),
    ('{"nVbIUDjzWY4": {"start": [NaN], "end": [1e999], "text": ["a"]}}', "holds no rows"),
    ('{"nVbIUDjzWY4": {"start": [], "end": [], "text": []}, "nVbIUDjzWY4": {}}', "is there twice"), ('{} {}', "more follows after byte 3"),
    ('{"nVbIUDjzWY4": ' + "[" * 100000, "recursion|byte"), ('{3: 4}', "byte"),
    ('{"nVbIUDjzWY4": {"start": [], "end": [], "text": []},}', "byte"),
])  # fmt: skip
def test_howto100m_captions_that_are_none(tmp_path, text, match):
    put(tmp_path / "caption.json", text)
    refuses("howto100m", tmp_path, match)


# LAION


def test_laion_tars_are_read_from_their_places(tree):
    rows = read("laion", tree)
    assert [r.id for r in rows] == [f"laion/00000/{n:09}" for n in range(3)] and rows.missing == 2
    assert rows[1].media[0].source == picture(1) and rows[1].media[0].kind == "image" and rows[1].texts["caption"] == "A dam 1"
    assert rows[1].labels == {
        "captions": ("A dam 1",), "url": "https://x/1.jpg", "width": 16, "height": 12, "sha256": "4f2a1", "similarity": 0.31,
    }  # fmt: skip
    assert rows[0].group == rows[2].group != rows[1].group  # one hash, one picture
    assert list(read("laion", tree / "00000.tar")) == list(rows) and not [p for p in tree.rglob("*") if p.suffix == ".jpg"]


def test_laion_folders_and_other_pictures(tree):
    with tarfile.open(tree / "00000.tar") as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar}
    rows = list(read("laion", tree))
    (tree / "00000.tar").unlink()
    (tree / "00000").mkdir()
    for name, content in members.items():
        (tree / "00000" / name).write_bytes(content)
    touch(tree, "00000/.DS_Store")
    filed = read("laion", tree)
    assert [r.media[0].source for r in filed] == [str(tree / "00000" / f"{n:09}.jpg") for n in range(3)]
    assert [(r.id, r.labels, r.group) for r in filed] == [(r.id, r.labels, r.group) for r in rows]
    shard(
        tree / "00001.tar",
        {"./000010000.webp": b"x", "./000010000.txt": "Ein Damm – ".encode(), "000010001.png": b"y", "000010001.json": b"{}"},
    )
    dam, bare = list(read("laion", tree))[3:]
    assert dam.texts["caption"] == "Ein Damm –" and dam.group == dam.id and bare.texts == {} and bare.labels["captions"] == ()


def test_laion_rows_of_what_failed_come_from_the_parquet(tree):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"key": f"{n:09}", "status": s, "caption": c, "url": f"https://x/{n}.jpg", "error_message": e, "width": None}
            for n, (s, c, e) in enumerate((("success", "A dam 0", None), ("failed_to_download", "A lake", "HTTP Error 404"),
                                           ("failed_to_resize", None, "image too small")))]  # fmt: skip
    parquet.write_table(pa.Table.from_pylist(rows), tree / "00000.parquet")
    lake, small = list(read("laion", tree, failed=True))[3:]
    assert lake.media == () and lake.texts["caption"] == "A lake" and lake.labels["error"] == "HTTP Error 404"
    assert small.texts == {} and len(read("laion", tree)) == 3
    put(tree / "00000.parquet", "PAR1 this is none")
    refuses("laion", tree, r"00000\.parquet", failed=True)
    (tree / "00000.parquet").unlink()
    refuses("laion", tree, r"00000\.parquet", failed=True)


def test_laion_shards_that_are_cut_short_or_of_something_else(tree):
    whole = (tree / "00000.tar").read_bytes()
    (tree / "00000.tar").write_bytes(whole[: len(whole) // 3])
    refuses("laion", tree, r"00000\.tar: ")
    (tree / "00000.tar").write_bytes(whole)
    with tarfile.open(tree / "00000.tar") as tar:
        at = tar.getmember("000000002.txt").offset
    (tree / "00000.tar").write_bytes(whole[:at] + b"x" * 512 + whole[at + 512 :])  # tarfile ends there without a word
    refuses("laion", tree, rf"00000\.tar: no member begins at byte {at}")
    (tree / "00000.tar").write_bytes(whole)
    for stats, match in (({"count": 5, "successes": 4}, "3 pictures, 4 by its _stats.json"), ({"count": 1}, "KeyError"),
                         ([], "wanted count and"),
                         ({"count": "5", "successes": 3}, "3 of '5'"), ({"count": 2, "successes": 3}, "3 of 2")):  # fmt: skip
        put(tree / "00000_stats.json", json.dumps(stats))
        refuses("laion", tree, match)
    (tree / "00000_stats.json").unlink()
    for members, match in (
        ({"../x.jpg": b"", "../x.json": b"{}"}, r"a member is called '\.\./x'"), ({"/etc/x.jpg": b""}, "a member is called '/etc/x'"),
        ({"0.jpg": b""}, "sample 0: no picture, or no .txt"), ({"0.json": b"{}"}, "no picture"),
        ({"0.mp4": b"", "0.txt": b""}, "no picture"),
        ({"0.jpg": b"", "0.json": b"["}, "its .json is none"), ({"0.jpg": b"", "0.json": b"[]"}, "its .json is a list"),
        ({"0.jpg": b"", "0.txt": b"\xff"}, "its .txt is no UTF-8"), ({"0.jpg": b"", "0.json": b'{"caption": [1]}'}, r"caption is \[1\]"),
        ({"0.jpg": b"", "0.json": b"[" * 100000}, "its .json is none"),
    ):  # fmt: skip
        shard(tree / "00000.tar", members)
        refuses("laion", tree, match)
    (tree / "00000.tar").unlink()
    touch(tree, "00000.parquet")
    refuses("laion", tree, "run img2dataset with --output_format webdataset or files")


def test_laion_passes_over_links_and_sees_a_shard_that_shrinks(tree):
    with tarfile.open(tree / "00001.tar", "w") as tar:
        for name, kind in (("000010000.jpg", tarfile.SYMTYPE), ("000010000.json", tarfile.LNKTYPE), ("000010001.jpg", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    rows = read("laion", tree)
    assert len(rows) == 3
    (tree / "00000.tar").write_bytes((tree / "00000.tar").read_bytes()[:1000])
    with pytest.raises(DatasetError, match=r"00000\.tar ends before its member of bytes"):
        rows[2]


# anything at all

NOISE = st.sampled_from(
    ["", '"', ",", "\n", "\t", "\x00", "../", "/", "[", "{", "}", "]", ":", "#", "nan", "-1", "1e999", "9" * 5000, "é", "\udcff", "x" * 9]
)


def _spoil(path, at, cut, noise):
    raw = path.read_bytes()
    where = int(at * len(raw))
    path.write_bytes(raw[:where] + noise.encode("utf-8", "surrogateescape") + raw[where + cut :])


@pytest.mark.parametrize("name", TREES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draws=st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1), st.integers(0, 40), NOISE), min_size=1, max_size=3))
def test_spoilt_trees_are_read_or_refused_and_name_no_file_outside(name, draws):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        TREES[name](root)
        files = [p for p in sorted(root.rglob("*")) if p.is_file() and p.stat().st_size]
        for which, at, cut, noise in draws:
            _spoil(files[which % len(files)], at, cut, noise)
        try:
            rows = list(read(name, root))
        except DatasetError as error:
            assert str(root) in error.found and error.remedy
            return
        sources = [m.source for r in rows for m in r.media]
        assert all(isinstance(s, bytes) or (Path(s).resolve().is_relative_to(root) and Path(s).is_file()) for s in sources)
