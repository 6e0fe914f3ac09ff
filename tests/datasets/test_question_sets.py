"""Readers of questions about clips: what is particular to each, its other spellings, and what is broken in them."""

import json

import numpy as np
import pytest

from tests.datasets.question_trees import MME, TREES, frames, jpeg, put_json
from tests.datasets.test_readers import put, read, touch
from unifusion.datasets._asked import first_word, span_of
from unifusion.datasets._frames import FrameFolders
from unifusion.errors import DatasetError, MediaError
from unifusion.media import Sampling, read_clip
from unifusion.tasks.multiple_choice import MultipleChoice


@pytest.fixture
def tree(tmp_path, request):
    TREES[request.param](tmp_path)
    return tmp_path


def on(name):
    return pytest.mark.parametrize("tree", [name], indirect=True)


def by_id(rows):
    return {r.id.partition("/")[2]: r for r in rows}


def broken(name, path, content, match, **options):
    (put if isinstance(content, str) else put_json)(path, content)
    with pytest.raises(DatasetError, match=match):
        list(read(name, path.parent if path.parent.name not in ("json", "tvqa_qa_release") else path.parent.parent, **options))


def test_spans_and_first_words(tmp_path):
    assert span_of("1.21", 8, tmp_path, 1) == (1.21, 8.0) and span_of(0, 0, tmp_path, 1) is None and span_of(5, 3, tmp_path, 1) is None
    assert span_of("NaN", "NaN", tmp_path, 1) is None and span_of(1, float("nan"), tmp_path, 1) is None
    for start, end in (("a", 1), (None, 2), (-1, 2), (0, float("inf")), (True, 2), (0, 1e9)):
        with pytest.raises(DatasetError, match=r"line 1: from .* wanted seconds"):
            span_of(start, end, tmp_path, 1)
    assert [first_word(q) for q in ("What's up?", "who is it", "Is it?")] == ["what", "who", "other"]


# MSRVTT-QA and MSVD-QA


@on("msrvtt_qa")
def test_msrvtt_qa_groups_by_youtube_video_and_takes_it_out_of_train(tree, caplog):
    rows = read("msrvtt_qa", tree)
    assert sorted(by_id(rows)) == ["0", "1", "2", "4", "5", "6"] and rows.left_out == 1
    assert any("1 rows are left out" in r.message for r in caplog.records)
    first = by_id(rows)["0"]
    assert (first.texts, first.labels, first.split) == ({"question": "what is shown in 0?", "answer": "car"}, {"type": "what"}, "train")
    assert first.media[0].source.endswith("videos/all/video0.mp4") and first.group == f"{0:011}"
    whole = read("msrvtt_qa", tree, as_published=True)
    assert len(whole) == 7 and by_id(whole)["3"].group == f"{7010:011}@train" and by_id(whole)["5"].group == f"{7010:011}@test"
    (tree / "msrvtt_data" / "MSRVTT_data.json").unlink()
    assert len(read("msrvtt_qa", tree)) == 7 and by_id(read("msrvtt_qa", tree))["3"].group == "msrvtt/video2"


def test_questions_of_lavis(tmp_path):
    put_json(tmp_path / "a" / "qa_test.json", [{"video": "video6513.mp4", "question": "who talks?", "answer": "man", "question_id": 7}])
    put_json(tmp_path / "b" / "qa_train.json.gz", [{"video": "-4wsuPCjDBc_5_15.avi", "question": "what is chewing", "answer": "chipmunk"}])
    touch(tmp_path, "a/video6513.mp4", "b/-4wsuPCjDBc_5_15.mp4")
    (row,) = read("msrvtt_qa", tmp_path / "a")
    assert (row.id, row.split, row.group) == ("msrvtt_qa/test/7", "test", "msrvtt/video6513") and row.media
    (row,) = read("msvd_qa", tmp_path / "b")
    assert (row.id, row.split, row.group) == ("msvd_qa/train/0", "train", "-4wsuPCjDBc") and row.media
    assert [r.id for r in read("msrvtt_qa", tmp_path / "a" / "qa_test.json")] == ["msrvtt_qa/test/7"]
    put_json(tmp_path / "a" / "more.json", [])
    with pytest.raises(DatasetError, match=r"more\.json is no table of the set; its tables are train_qa\.json, qa_train\.json"):
        read("msrvtt_qa", tmp_path / "a" / "more.json")


@on("msvd_qa")
def test_msvd_qa_finds_clips_by_youtube_id_and_by_number(tree):
    rows = by_id(read("msvd_qa", tree))
    assert rows["0"].media[0].source.endswith("-4wsuPCjDBc_5_15.avi") and rows["4"].media[0].source.endswith("vid5.avi")
    assert "2" not in rows and rows["3"].group == "-8y1Q0rA3n8"  # of train and of val; the clips differ, the video does not
    put(tree / "youtube_mapping.txt", "-4wsuPCjDBc_5_15 vid1\nvid2 -7KMZQEsJW4_205_208\n")
    with pytest.raises(DatasetError, match=r"youtube_mapping\.txt, line 2"):
        read("msvd_qa", tree)


def test_broken_questions_are_named(tmp_path):
    row = {"id": 0, "video_id": 1, "question": "who?", "answer": "man"}
    path = tmp_path / "train_qa.json"
    for change, match in (
        ({"question": " "}, "entry 1: question is ' '; wanted a text"), ({"answer": 3}, "entry 1: answer is '3'"),
        ({"video_id": "1"}, "entry 1: video_id '1'; wanted a whole number"), ({"video_id": -1}, "video_id -1"),
        ({"video_id": 123456789}, "video_id 123456789"), ({"id": 5, "video": "../../etc/passwd.avi"}, "video"),
    ):  # fmt: skip
        for name in ("msrvtt_qa", "msvd_qa"):
            broken(name, path, [{**row, "id": 9}, {**row, **change}], match)
    broken("msvd_qa", path, [row, row], "1 rows are there twice, such as msvd_qa/0")
    broken("msvd_qa", path, [{"id": 1}], "train_qa.json, entry 0: no 'question'; known: id")
    broken("msvd_qa", path, {"a": 1}, "is no list of objects")


# AVQA and MUSIC-AVQA


@on("avqa")
def test_avqa_takes_ten_seconds_and_says_what_must_be_perceived(tree):
    rows = by_id(read("avqa", tree))
    assert sorted(rows) == ["183", "185", "186", "5"]  # 184 is of the same video as 185, which is in val
    happened = rows["183"]
    assert happened.labels == {
        "options": ("motorboat", "Yacht consignment", "Sailboat set sail", "Consignment car"), "option": 1, "type": "Happening",
        "needs": "picture", "start_s": 30.0, "end_s": 40.0,
    }  # fmt: skip
    assert happened.media[0].kind == "video" and happened.media[0].start_s is None and happened.group == "-HG3Omg_89c"
    assert (rows["185"].media[0].kind, rows["185"].media[0].start_s, rows["185"].labels["needs"]) == ("audio", 78.0, "both")
    heard = read("avqa", tree, take="audio", as_published=True)
    assert [m.kind for r in heard for m in r.media] == ["audio"] * 3 and len(heard) == 5
    with pytest.raises(DatasetError, match="take is 'sound'"):
        read("avqa", tree, take="sound")


@on("avqa")
def test_broken_rows_of_avqa(tree):
    row = json.loads((tree / "train_qa.json").read_text())[0]
    for change, match in (
        ({"video_name": "x_1"}, "video_name 'x_1'"), ({"multi_choice": "a"}, "a list of texts"), ({"multi_choice": ["a", 3]}, "options"),
        ({"multi_choice": ["a"]}, "two or more"), ({"answer": 4}, "answer 4; wanted the number of an option, 0 to 3"),
        ({"answer": "B"}, "answer 'B'"), ({"answer": True}, "answer True"), ({"question_relation": "Taste"}, "'Taste' is none of its"),
    ):  # fmt: skip
        broken("avqa", tree / "train_qa.json", [{**row, **change}], rf"train_qa\.json, entry 0: .*{match}")
    put_json(tree / "train_qa.json", [{k: v for k, v in row.items() if k != "answer"}])
    hidden = by_id(read("avqa", tree))["183"]
    assert "option" not in hidden.labels and "answer" not in hidden.texts and len(hidden.labels["options"]) == 4


@on("music_avqa")
def test_music_avqa_fills_templates_and_leaves_out_what_is_in_later_parts(tree):
    rows = read("music_avqa", tree)
    told = by_id(rows)
    assert sorted(told) == ["1", "3", "4", "6", "7"] and rows.left_out == 2
    assert told["1"].texts["question"] == "Is the acoustic guitar on the left louder than the piano?"
    assert told["1"].labels == {
        "type": "Audio Comparative", "needs": "sound", "template": "Is the <Object> on the <LR> louder than the <Object>?",
    }  # fmt: skip
    assert told["6"].texts == {"question": "Which is the instrument?", "answer": "acoustic guitar"} and told["6"].labels["needs"] == "both"
    assert told["6"].labels["answers"] == ("acoustic_guitar",) and told["7"].labels["needs"] == "picture"
    assert told["6"].media[0].source.endswith("Real/00000002.mp4") and told["6"].group == "music_avqa/00000002"
    assert {r.split for r in read("music_avqa", tree, as_published=True)} == {"train", "val", "test"}
    assert len(read("music_avqa", tree, as_published=True)) == 7


@on("music_avqa")
def test_questions_with_two_answers_are_left_out_unless_as_published(tree, caplog):
    assert sorted(by_id(read("music_avqa", tree, split="test", release="first"))) == ["6"]
    assert any("avqa-test.json: 1 questions have two answers; they are left out" in r.message for r in caplog.records)
    whole = by_id(read("music_avqa", tree, split="test", release="first", as_published=True))
    assert (whole["8/1"].texts["answer"], whole["8/2"].texts["answer"]) == ("yes", "no") and len(whole) == 3
    with pytest.raises(DatasetError, match="release is 'last'"):
        read("music_avqa", tree, release="last")


@on("music_avqa")
def test_broken_rows_of_music_avqa(tree):
    path = tree / "json_update" / "avqa-train.json"
    row = json.loads(path.read_text())[0]
    for change, match in (
        ({"templ_values": '["violin"]'}, "wanted 3 values"), ({"templ_values": "[violin]"}, "templ_values '.violin.'; wanted a list"),
        ({"templ_values": "[" * 100_000}, "wanted a list"), ({"type": '["Audio"]'}, "wanted two words"), ({"type": 3}, "type '3'"),
        ({"type": '["Smell", "Counting"]'}, "'Smell' is none of its labels"), ({"video_id": "../1"}, "'../1'"), ({"anser": ""}, "anser"),
    ):  # fmt: skip
        put_json(path, [{**row, **change}])
        with pytest.raises(DatasetError, match=rf"avqa-train\.json, entry 0: .*{match}"):
            read("music_avqa", tree)


# TVQA


@on("tvqa")
def test_tvqa_shows_the_span_and_the_words_said_in_it(tree):
    rows = by_id(read("tvqa", tree))
    drink = rows["7"]
    assert (drink.labels["option"], drink.texts["answer"], drink.labels["type"]) == (4, "A beer bottle", "what")
    assert (drink.media[0].start_s, drink.media[0].end_s, drink.labels["start_s"]) == (1.21, 3.49, 1.21)
    assert drink.labels["subtitles"] == ({"start_s": 0.5, "end_s": 2.0, "text": "(Ted:)Where is my drink?"},)
    assert drink.media[0].transcript == drink.texts["transcript"] == "(Ted:)Where is my drink?"
    whole = rows["8"]  # NaN-NaN
    assert whole.media[0].start_s is None and "start_s" not in whole.labels and whole.texts["transcript"].endswith("(Robin:)Here.")
    assert "option" not in rows["12"].labels and rows["12"].media[0].source.endswith(".mkv") and rows["12"].split == "test"
    assert rows["11"].labels["option"] == 0 and "start_s" not in rows["11"].labels and rows["10"].media == ()
    assert drink.labels["show"] == "How I Met You Mother" and drink.group == "tvqa/met_s06e22_seg01_clip_02"


@on("tvqa")
def test_tvqa_without_spans_and_without_subtitles(tree):
    rows = by_id(read("tvqa", tree, with_ts=False))
    assert all(m.start_s is None for r in rows.values() for m in r.media) and rows["7"].labels["end_s"] == 3.49
    assert len(rows["7"].labels["subtitles"]) == 2
    bare = by_id(read("tvqa", tree, with_subtitles=False))["7"]
    assert "transcript" not in bare.texts and bare.media[0].transcript is None and "subtitles" not in bare.labels


@on("tvqa")
def test_tvqa_makes_a_video_of_its_pictures(tree):
    rows = read("tvqa", tree)
    row, again = by_id(rows)["9"], by_id(rows)["9"]
    (media,) = row.media
    assert isinstance(media.source, bytes) and again.media[0].source == media.source and (media.start_s, media.end_s) == (0.3, 1.0)
    clip = read_clip(media.source, start_s=media.start_s, end_s=media.end_s, video=Sampling(rate_hz=3), audio=True)
    np.testing.assert_allclose(clip.frames_THWC[:, 0, 0, 0], [0, 30, 60], atol=3)  # what is on screen at 0.3 s is the first picture
    np.testing.assert_allclose(clip.frame_times_s, [0.0, 1 / 3 - 0.3, 2 / 3 - 0.3], atol=1e-3)
    assert clip.waveform_N is None
    (tree / "frames_hq" / "met_frames" / "met_s06e22_seg01_clip_03" / "00003.jpg").write_text("<html>")
    with pytest.raises(MediaError, match=r"00003\.jpg: no JPEG"):
        list(rows)


@on("tvqa")
def test_a_model_is_shown_the_pictures_of_the_span(tree, tiny_engine):
    (answer,) = tiny_engine.answer([MultipleChoice().conversation(by_id(read("tvqa", tree))["9"])], max_new_tokens=2)
    video, audio = answer.report.streams["video"], answer.report.streams["audio"]
    assert video.present and video.frames > 1
    assert not audio.present and "no sound" in audio.reason


def test_folders_of_frames(tmp_path):
    frames(tmp_path / "a" / "b" / "c" / "clip", 2)
    frames(tmp_path / "a" / "b" / "c" / "d" / "deeper", 2)
    (tmp_path / "a" / "b" / "c" / "clip" / "00009.jpg").write_bytes(jpeg(9))
    touch(tmp_path, "a/b/c/clip/notes.txt", "a/b/c/clip/00000.jpg", ".hidden/00001.jpg")
    found = FrameFolders(tmp_path)
    assert found.find("clip", None) and not found.find("deeper", None) and not found.find(".hidden", None)
    clip = read_clip(found.video("clip"), video=Sampling(times_s=(0.0, 2.0, 2.8)), audio=False)
    np.testing.assert_allclose(clip.frames_THWC[:, 0, 0, 0], [0, 30, 9], atol=3)  # a gap in the numbers is a gap in time
    frames(tmp_path / "e" / "clip", 1)
    with pytest.raises(DatasetError, match="have one name"):
        FrameFolders(tmp_path)
    assert FrameFolders(None).find("clip", None) == ()


@on("tvqa")
def test_broken_rows_of_tvqa(tree):
    path = tree / "tvqa_qa_release" / "tvqa_train.jsonl"
    row = json.loads(path.read_text().splitlines()[0])
    for change, match in (
        ({"ts": "1.2"}, "ts '1.2'; wanted a span"), ({"ts": "a-b"}, "from 'a' to 'b'"), ({"ts": [1, 2]}, "ts is"), ({"a3": ""}, "options"),
        ({"answer_idx": "4"}, "answer '4'"), ({"answer_idx": 5}, "answer 5"), ({"vid_name": "../a"}, "'../a'"), ({"q": None}, "q is"),
    ):  # fmt: skip
        put(path, f"{json.dumps(row)}\n{json.dumps({**row, 'qid': 1, **change})}\n")
        with pytest.raises(DatasetError, match=rf"tvqa_train\.jsonl, line 2: {match}"):
            read("tvqa", tree)
    put(path, json.dumps({k: v for k, v in row.items() if k != "answer_idx"}))
    with pytest.raises(DatasetError, match="line 1: no 'answer_idx'"):
        read("tvqa", tree)
    put(path, json.dumps(row) + "\n{\n")
    with pytest.raises(DatasetError, match=r"tvqa_train\.jsonl, line 2"):
        read("tvqa", tree)


@on("tvqa")
def test_broken_subtitles_are_named(tree):
    put(tree / "tvqa_subtitles" / "met_s06e22_seg01_clip_02.srt", "no times here")
    with pytest.raises(MediaError, match=r"met_s06e22_seg01_clip_02\.srt"):
        read("tvqa", tree)[0]


# MVBench


@on("mvbench")
def test_mvbench_bounds_videos_finds_them_and_makes_one_of_pictures(tree):
    rows = by_id(read("mvbench", tree))
    first = rows["action_sequence/0"]
    assert (first.labels["option"], first.texts["answer"], first.labels["type"]) == (1, "Tidied.", "action_sequence")
    assert (first.media[0].start_s, first.media[0].end_s, first.labels["end_s"]) == (11.1, 22.4, 22.4) and first.split == "test"
    assert "start_s" not in rows["action_sequence/1"].labels and rows["action_sequence/1"].media == ()
    assert "data0613" in rows["moving_count/0"].media[0].source and rows["moving_count/0"].media[0].start_s is None
    assert rows["action_antonym/0"].media[0].source.endswith("ssv2_video_mp4/166583.mp4")
    episode = rows["episodic_reasoning/0"]
    assert episode.texts["transcript"] == "Castle: Hello." == episode.media[0].transcript and episode.media[0].source[4:8] == b"ftyp"
    clip = read_clip(episode.media[0].source, start_s=0.5, end_s=1.5, video=Sampling(rate_hz=3), audio=False)
    np.testing.assert_allclose(clip.frames_THWC[:, 0, 0, 0], [30, 60, 90], atol=3)
    assert rows["episodic_reasoning/1"].media == () and episode.group == "mvbench/tvqa/frames_fps3_hq/castle_s01e01_seg01_clip_00"
    assert {r.labels["type"] for r in read("mvbench", tree, tasks=["moving_count", "action_antonym"])} == {"moving_count", "action_antonym"}


@on("mvbench")
def test_broken_rows_and_choices_of_mvbench(tree):
    path = tree / "json" / "action_sequence.json"
    row = json.loads(path.read_text())[0]
    for change, match in (
        ({"answer": "Sang."}, "answer 'Sang.' is none of"), ({"candidates": "Ate."}, "is none of"), ({"candidates": ["Tidied."]}, "two"),
        ({"candidates": ["Tidied.", 3]}, "wanted two or more texts"), ({"start": "soon"}, "from 'soon' to 22.4"),
        ({"video": "../../x.mp4"}, "wanted the name of a file below"), ({"video": "/etc/passwd"}, "/etc/passwd"), ({"video": "a\\b"}, "a"),
    ):  # fmt: skip
        broken("mvbench", path, [{**row, **change}], rf"action_sequence\.json, entry 0: .*{match}")
    broken("mvbench", path, [{k: v for k, v in row.items() if k != "end"}], "no 'end'")
    with pytest.raises(DatasetError, match=r"moving_count\.json is a file; name the folder that json and video lie in"):
        read("mvbench", tree / "json" / "moving_count.json")
    with pytest.raises(DatasetError, match="has no task 'action_sequense'; did you mean 'action_sequence'"):
        read("mvbench", tree, tasks=["action_sequense"])
    with pytest.raises(DatasetError, match=r"holds none of json/state_change\.json"):
        read("mvbench", tree, tasks=["state_change"])


# Video-MME


@on("video_mme")
def test_video_mme_with_and_without_subtitles(tree):
    first, second, long = read("video_mme", tree)
    assert first.labels["options"] == ("Apples.", "Candles.", "Berries.", "The three kinds are of the same number.")
    assert (first.texts["answer"], first.labels["type"], first.labels["domain"]) == ("Berries.", "Counting Problem", "Knowledge")
    assert first.texts["transcript"] == "(Ted:)Where is my drink? (Robin:)Here." and len(second.labels["subtitles"]) == 2
    assert first.media[0].source.endswith("data/fFjv93ACGo8.mp4") and first.group == second.group == "video_mme/001" and long.media == ()
    bare = read("video_mme", tree, with_subtitles=False)
    assert all("transcript" not in r.texts and "subtitles" not in r.labels for r in bare)
    assert [r.id for r in read("video_mme", tree, durations=["long"])] == ["video_mme/601-1"]
    with pytest.raises(DatasetError, match="has no duration 'lang'; did you mean 'long'"):
        read("video_mme", tree, durations=["lang"])


def test_video_mme_as_parquet_csv_lines_and_by_its_authors(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    put_json(tmp_path / "a" / "videomme.json", [MME])
    (tmp_path / "b" / "videomme").mkdir(parents=True)
    parquet.write_table(pyarrow.Table.from_pylist([MME]), tmp_path / "b" / "videomme" / "test-00000-of-00001.parquet")
    put_json(tmp_path / "c" / "videomme.jsonl", MME)
    cells = ["001", "short", "Knowledge", "Humanity & History", "fFjv93ACGo8", "001-1", "Counting Problem", MME["question"]]
    columns = "video_id,duration,domain,sub_category,videoID,question_id,task_type,question,options,answer"
    for folder, options in (("d", json.dumps(MME["options"])), ("e", str(MME["options"]))):
        quoted = options.replace('"', '""')
        put(tmp_path / folder / "videomme.csv", f'{columns}\n{",".join(cells)},"{quoted}",C\n')
    asked = {"question_id": "001-1", "task_type": "Counting Problem", "question": MME["question"], "choices": MME["options"], "answer": "C"}
    video = {"video_id": "001", "duration_category": "short", "video_category": "Knowledge", "video_subcategory": "Humanity & History"}
    put_json(tmp_path / "f" / "video_mme.json", [{**video, "url": MME["url"], "questions": [{**asked, "response": "A"}]}])
    rows = [row for folder in "abcdef" for row in read("video_mme", tmp_path / folder)]
    assert len(rows) == 6 and all(row == rows[0] for row in rows)
    put_json(tmp_path / "f" / "video_mme.json", [{**video, "questions": [asked]}])
    touch(tmp_path, "f/001.mp4")
    (row,) = read("video_mme", tmp_path / "f")
    assert row.media[0].source.endswith("001.mp4")


def test_broken_rows_of_video_mme(tmp_path):
    path = tmp_path / "videomme.json"
    for change, match in (
        ({"options": ["Apples.", "Candles."]}, "options .* wanted"), ({"options": ["A. a", "C. b"]}, "wanted"), ({"options": None}, "want"),
        ({"options": "['A. a' 'B. b']"}, "two or more texts"), ({"options": "__import__('os')"}, "wanted"), ({"answer": "E"}, "answer 4"),
        ({"answer": "Berries"}, "answer -1; wanted the number"), ({"duration": "brief"}, "'brief' is none of its labels"),
        ({"videoID": "../x"}, "'../x'"), ({"task_type": None}, "task_type is 'None'"),
    ):  # fmt: skip
        broken("video_mme", path, [{**MME, **change}], rf"videomme\.json, entry 0: .*{match}")
    broken("video_mme", path, [{**MME, "questions": 3}], "questions are no list of objects")
    path.unlink()
    broken("video_mme", tmp_path / "test-00000-of-00001.parquet", "PAR1 no", r"00001\.parquet: .*download it again")


# NExT-QA and ActivityNet-QA


@on("nextqa")
def test_nextqa_by_the_names_of_vidor(tree):
    rows = by_id(read("nextqa", tree))
    assert rows["40/6"].media[0].source.endswith("1164/4010.mp4") and rows["40/6"].labels["option"] == 2 and rows["41/6"].media == ()
    put(tree / "map_vid_vidorID.json", "[]")
    with pytest.raises(DatasetError, match="is a list, no object"):
        read("nextqa", tree)


@on("activitynet_qa")
def test_broken_rows_of_activitynet_qa(tree):
    put_json(tree / "val_a.json", [{"answer": "no", "type": 9, "question_id": "v_x3_3"}])
    with pytest.raises(DatasetError, match=r"val_a\.json, v_x3_3: type 9; wanted a number from 0 to 8"):
        read("activitynet_qa", tree)
    (tree / "val_a.json").unlink()
    with pytest.raises(DatasetError, match=r"holds none of val_a\.json"):
        read("activitynet_qa", tree)
