"""Readers of sets of emotions: tiny trees in the official layouts, their corner cases, what is broken in them, and planted leaks."""

import json
import zipfile
from collections import Counter
from html import escape

import numpy as np
import pytest
from PIL import Image

from tests.datasets.test_readers import put, read, touch
from unifusion.conversation import Example
from unifusion.datasets._empathetic import CLASSES, class_of
from unifusion.datasets._files import part_of, prove_apart
from unifusion.errors import DatasetError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"


def test_a_group_in_two_splits_is_named():
    told = (("a", "train"), ("b", "val"), ("a", "test"), ("", "val"), ("", "test"))
    rows = [Example(id=str(i), group=group, split=split) for i, (group, split) in enumerate(told)]
    with pytest.raises(DatasetError, match=r"my set: 1 groups are in more than one split \(a in test and train\)"):
        prove_apart(rows, "my set")
    prove_apart(rows[:2] + rows[3:])


def test_shares_of_parts_by_hash():
    counts = Counter(part_of(f"group {i}", 0.1, 0.2) for i in range(5000))
    assert abs(counts["val"] - 500) < 80 and abs(counts["test"] - 1000) < 110
    assert {part_of(f"group {i}", 0.1, 0.0) for i in range(200)} == {"train", "val"}


# AvaMERG

SPEAKER = {"age": "young", "gender": "female", "timbre": "high", "ID": 12}
LISTENER = {"age": "elderly", "gender": "male", "timbre": "low", "ID": "7"}
COE = {"speaker_emotion": "lonely", "event_scenario": "A party.", "emotion_cause": "nobody came", "goal_to_response": "comfort"}


def feeling(word):
    return {**COE, "speaker_emotion": word}


def said(index, role, text):
    return {"index": index, "role": role, "utterance": text}


def talk(number="00003", **changes):
    first = [said(0, "speaker", "Nobody came, “Zoë”.")]
    second = [*first, said(1, "listener", "Oh no!"), said("2", "Speaker", "Still, I was glad.")]
    turns = [
        {"turn_id": "0", "context": "c", "dialogue_history": first, "response": "Oh no!", "chain_of_empathy": COE},
        {"turn_id": 1, "context": "c", "dialogue_history": second, "response": "Good.", "chain_of_empathy": feeling("Content")},
    ]  # fmt: skip
    entry = {"conversation_id": number, "speaker_profile": SPEAKER, "listener_profile": LISTENER, "topic": "a party", "turns": turns}
    return {**entry, **changes}


def put_json(path, content):
    put(path, json.dumps(content, ensure_ascii=False))


def test_avamerg_reads_every_line_with_its_clip_history_and_metadata(tmp_path):
    put_json(tmp_path / "train_audio" / "audio_v5_0" / "train.json", [talk()])
    put_json(tmp_path / "test.json", [talk(4)])
    touch(tmp_path, "train_audio/audio_v5_0/dia00003utt0_12.wav", "train_audio/audio_v5_0/._dia00003utt0_12.wav", "v/dia00003utt3_7.mp4")
    touch(tmp_path, "train_audio/dia00004utt0_12.wav", "test_audio/dia00004utt0_12.wav")
    put(tmp_path / "affect.csv", "name,valence,arousal\ndia00003utt2_12,0.5,-1\n")
    rows = list(read("avamerg", tmp_path, split="train"))
    assert [r.id for r in rows] == [f"avamerg/dia00003utt{i}_{who}" for i, who in enumerate((12, 7, 12, 7))]
    lonely, listener, glad, last = rows
    assert (lonely.labels["emotion"], lonely.labels["emotion32"], lonely.texts["reply"]) == ("sad", "lonely", "Oh no!")
    assert (glad.labels["emotion"], glad.labels["emotion32"], glad.texts["reply"]) == ("happy", "Content", "Good.")
    assert "emotion" not in listener.labels and "emotion" not in last.labels and "reply" not in listener.texts
    assert lonely.texts["transcript"] == "Nobody came, “Zoë”." and lonely.media[0].kind == "audio" and last.media[0].kind == "video"
    assert glad.media == () and (glad.labels["valence"], glad.labels["arousal"]) == (0.5, -1.0) and "valence" not in lonely.labels
    assert glad.labels["history"] == ({"speaker": "speaker", "text": "Nobody came, “Zoë”."}, {"speaker": "listener", "text": "Oh no!"})
    assert glad.labels["metadata"] == {
        "topic": "a party", "speaker_age": "young", "speaker_gender": "female", "speaker_timbre": "high", "listener_age": "elderly",
        "listener_gender": "male", "listener_timbre": "low", "scenario": "A party.", "cause": "nobody came", "goal": "comfort",
        "role": "speaker", "turn": 2,
    }  # fmt: skip
    assert {r.group for r in rows} == {"avamerg/00003"} and {r.split for r in rows} == {"train"}
    (other, *_) = read("avamerg", tmp_path, split="test")
    assert other.media[0].source.endswith("test_audio/dia00004utt0_12.wav") and other.group == "avamerg/00004"
    assert [r.id[-3:] for r in read("avamerg", tmp_path, split="train", turns="last")] == ["_12", "_12"]
    assert read("avamerg", tmp_path, take="video")[0].media == () and len(read("avamerg", tmp_path, take="video")[3].media) == 1


def test_avamerg_flattened_and_split_by_conversation(tmp_path):
    dialogue = [
        {"index": 0, "role": "speaker", "text": "Hm", "audio_name": "a/own_name.wav", "video_name": None},
        {"index": 1, "role": "listener_response", "text": "So?", "audio_name": "dia00001utt1_7.wav"},
    ]
    entry = {"conversation_id": 1, "speaker_profile": SPEAKER, "listener_profile": LISTENER, "topic": "", "turn": {"dialogue": dialogue}}
    entries = [{**entry, "conversation_id": i, "turn": {**entry["turn"], "chain_of_empathy": COE}} for i in range(60)]
    put_json(tmp_path / "train.json", entries)
    touch(tmp_path, "own_name.wav")
    rows = list(read("avamerg", tmp_path))
    assert rows[0].media[0].source.endswith("own_name.wav") and rows[0].texts["reply"] == "So?" and len(rows) == 120
    assert {r.split for r in rows} == {"train", "val", "test"} and "topic" not in rows[0].labels["metadata"]
    assert all(len({r.split for r in rows if r.group == g}) == 1 for g in {r.group for r in rows})


def test_avamerg_says_what_is_wrong(tmp_path):
    with pytest.raises(DatasetError, match=r"holds none of train\.json.*got from avamerg"):
        read("avamerg", tmp_path)
    one = talk()["turns"][:1]
    put_json(tmp_path / "train.json", [talk(), talk("5", turns=[{**one[0], "chain_of_empathy": feeling("wistful")}])])
    with pytest.raises(DatasetError, match=r"train\.json, entry 1: emotions without a class: wistful \(1\); .*unknown: unlabelled"):
        read("avamerg", tmp_path)
    assert read("avamerg", tmp_path, words={"Wistful": "sad"})[4].labels["emotion"] == "sad"
    unlabelled = read("avamerg", tmp_path, unknown="unlabelled")[4]
    assert unlabelled.labels["emotion32"] == "wistful" and "emotion" not in unlabelled.labels
    put_json(tmp_path / "val.json", [talk()])
    with pytest.raises(DatasetError, match="4 rows are there twice"):
        read("avamerg", tmp_path, words={"wistful": "sad"})
    put_json(tmp_path / "val.json", [talk(turns=one, listener_profile={**LISTENER, "ID": 8}, speaker_profile={**SPEAKER, "ID": 9})])
    with pytest.raises(DatasetError, match=r"1 groups are in more than one split .avamerg/00003 in train and val"):
        read("avamerg", tmp_path, words={"wistful": "sad"})
    (tmp_path / "val.json").unlink()
    for entry, match in (
        ({k: v for k, v in talk().items() if k != "turns"}, "entry 0: no 'turns'"),
        (talk(turns=[{**talk()["turns"][0], "dialogue_history": [said("x", "speaker", "a")]}]), "index 'x'"),
        (talk(turns=[{**talk()["turns"][0], "dialogue_history": [said(0, "guest", "a")]}]), "role 'guest'"),
        (talk(turns=[talk()["turns"][0], {**talk()["turns"][1], "dialogue_history": [said(0, "speaker", "other")]}]), "turn 1: line 0 of"),
        (talk(speaker_profile={"age": "young"}), "no 'ID'"),
    ):  # fmt: skip
        put_json(tmp_path / "train.json", [entry])
        with pytest.raises(DatasetError, match=match):
            read("avamerg", tmp_path)
    put_json(tmp_path / "train.json", [talk()])
    put(tmp_path / "a" / "dia00003utt0_12.wav", POINTER)
    with pytest.raises(DatasetError, match="pointer of git-lfs"):
        read("avamerg", tmp_path)
    touch(tmp_path, "a/dia00003utt0_12.wav", "b/dia00003utt0_12.wav")
    with pytest.raises(DatasetError, match="have one name"):
        read("avamerg", tmp_path)
    with pytest.raises(DatasetError, match="turns is 'lst'; did you mean 'last'"):
        read("avamerg", tmp_path, turns="lst")


def test_the_32_words_each_have_one_of_seven_classes():
    words = [w for table in CLASSES.values() for w in table]
    assert len(words) == len(set(words)) == 32 and set(CLASSES) == {"angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"}
    assert class_of(" Jealous ", {}) == "angry" and class_of("jealous", {"jealous": "sad"}) == "sad" and class_of("xyz", {}) == ""


# IEMOCAP

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[14.8872 - 18.0175]\tSes0{s}F_impro01_M000\tneu\t[2.5000, 2.5000, 2.5000]
C-E1:\tNeutral;\t()
C-F1:\tNeutral;\t(it's okay)
A-E1:\tval 3; act 2; dom 2;\t()

[6.2901 - 8.2357]\tSes0{s}F_impro01_F000\texc\t[5.5000, 3.0000, 1.0000]
[20.0000 - 21.0000]\tSes0{s}F_impro01_F001\txxx\t[1.0000, 2.0000, 3.0000]
[22.0000 - 23.0000]\tSes0{s}F_impro01_M001\tfru\t[2.0000, 4.0000, 3.0000]
"""
TRANSCRIPT = """Ses0{s}F_impro01_F000 [006.2901-008.2357]: Excuse me.
Ses0{s}F_impro01_M000 [014.8872-018.0175]: Do you have your forms? [LAUGHTER]
F: off the record
Ses0{s}F_impro01_F001 [020.0000-021.0000]: Yeah.
"""


def put_iemocap(root, sessions=(1, 2, 3, 4, 5)):
    for s in sessions:
        folder = root / f"Session{s}" / "dialog"
        put(folder / "EmoEvaluation" / f"Ses0{s}F_impro01.txt", EVALUATION.replace("{s}", str(s)))
        put(folder / "transcriptions" / f"Ses0{s}F_impro01.txt", TRANSCRIPT.replace("{s}", str(s)))


def test_iemocap(tmp_path):
    put_iemocap(tmp_path)
    touch(tmp_path, "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav", "Session1/dialog/EmoEvaluation/._Ses01F_impro01.txt")
    rows = list(read("iemocap", tmp_path, fold=1))
    assert len(rows) == 10 and Counter(r.split for r in rows) == {"test": 2, "val": 2, "train": 6}
    woman, man = rows[:2]
    assert [woman.labels[k] for k in ("emotion", "valence", "arousal", "dominance")] == ["happy", 1.0, 0.0, -1.0]
    assert (woman.group, man.group, man.labels["gender"], man.labels["valence"]) == ("iemocap_Ses01F", "iemocap_Ses01M", "male", -0.25)
    assert man.labels["history"] == ({"speaker": "Ses01F", "text": "Excuse me."},) and man.media == ()
    assert woman.media[0].transcript == woman.texts["transcript"] == "Excuse me." and woman.labels["acted"] == "improvised"
    assert {r.split for r in read("iemocap", tmp_path, fold=5) if r.labels["speaker"].startswith("Ses01")} == {"val"}
    six = [r.labels["emotion"] for r in read("iemocap", tmp_path, classes=6, split="test")]
    assert six == ["excited", "neutral", "frustrated"]
    every = read("iemocap", tmp_path, classes=None, split="test")
    assert len(every) == 4 and "emotion" not in every[2].labels and every[2].labels["valence"] == -1.0
    assert every[3].labels["history"][-1]["text"] == "Yeah." and "transcript" not in every[3].texts


def test_iemocap_says_what_is_wrong(tmp_path):
    with pytest.raises(DatasetError, match=r"Session1 to Session5; .*sail\.usc\.edu"):
        read("iemocap", tmp_path)
    put_iemocap(tmp_path, (1,))
    table = tmp_path / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    put(table, EVALUATION.replace("{s}", "1").replace("\tneu\t", "\tnue\t"))
    with pytest.raises(DatasetError, match=r"Ses01F_impro01\.txt, line 3: emotion 'nue'"):
        read("iemocap", tmp_path)
    put(table, "[6.2901 - 8.2357] Ses01F_impro01_F000 neu\n")
    with pytest.raises(DatasetError, match=r"line 1: '\[6\.2901"):
        read("iemocap", tmp_path)
    (tmp_path / "Session1" / "dialog" / "transcriptions" / "Ses01F_impro01.txt").unlink()
    with pytest.raises(DatasetError, match=r"transcriptions.*is missing"):
        read("iemocap", tmp_path)
    with pytest.raises(DatasetError, match="fold 6 in 4 classes"):
        read("iemocap", tmp_path, fold=6)


# CREMA-D

SUMMARY = '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"\n'


def test_crema_d(tmp_path):
    touch(tmp_path, "AudioWAV/1001_IEO_NEU_XX.wav", "VideoFlash/1001_IEO_NEU_XX.flv", "AudioWAV/1070_ITH_SAD_X.wav", "AudioWAV/notes.wav")
    touch(tmp_path, "AudioWAV/1091_WSI_ANG_HI.wav", "AudioWAV/._1091_WSI_ANG_HI.wav")
    neutral, sad, angry = read("crema_d", tmp_path)
    assert neutral.media[0].kind == "video" and sad.media[0].kind == "audio" and "metadata" not in neutral.labels
    assert [r.split for r in (neutral, sad, angry)] == ["train", "val", "test"] and angry.labels["intensity"] == "high"
    assert read("crema_d", tmp_path, take="audio")[0].media[0].source.endswith(".wav")
    with pytest.raises(DatasetError, match=r"none of summaryTable\.csv.*CREMA-D"):
        read("crema_d", tmp_path, truth="perceived")
    put(tmp_path / "SentenceFilenames.csv", '"Stimulus_Number","Filename"\n1,"1001_IEO_NEU_XX"\n2,"1002_DFA_HAP_LO"\n')
    put(tmp_path / "VideoDemographics.csv", '"ActorID","Age","Sex","Race","Ethnicity"\n1002,21,"Female","Asian","Not Hispanic"\n')
    votes = '"1","1001_IEO_NEU_XX","A:D","37.2:58.6","N","5","S","64.78"\n"2","1002_DFA_HAP_LO","N","7","H","57","H:N","57.38:2"\n'
    put(tmp_path / "processedResults" / "summaryTable.csv", SUMMARY + votes)
    rows = {r.id: r for r in read("crema_d", tmp_path)}
    happy = rows["crema_d/1002_DFA_HAP_LO"]
    assert happy.media == () and happy.labels["metadata"] == {"speaker_age": "21", "speaker_gender": "female"}
    assert rows["crema_d/1001_IEO_NEU_XX"].labels["votes"] == {"voice": ("angry", "disgust"), "face": ("neutral",), "both": ("sad",)}
    assert rows["crema_d/1001_IEO_NEU_XX"].labels["vote_levels"]["voice"] == (37.2, 58.6)
    (told,) = read("crema_d", tmp_path, truth="perceived")
    assert (told.labels["emotion"], told.labels["acted"]) == ("sad", "neutral")
    put(tmp_path / "processedResults" / "summaryTable.csv", SUMMARY + '"1","1001_IEO_NEU_XX","Q","1","N","5","S","64"\n')
    with pytest.raises(DatasetError, match=r"summaryTable\.csv, line 2: 'Q' is none"):
        read("crema_d", tmp_path)
    put(tmp_path / "AudioWAV" / "1001_IEO_NEU_XX.wav", POINTER)
    with pytest.raises(DatasetError, match=r"1001_IEO_NEU_XX\.wav is a pointer of git-lfs.*git lfs pull"):
        read("crema_d", tmp_path)


def test_the_real_tables_of_crema_d(data):
    rows = list(read("crema_d", data / "text" / "crema_d"))
    assert len(rows) == 7442 and len({r.group for r in rows}) == 91 and all(r.labels["metadata"]["speaker_age"].isdigit() for r in rows)
    assert Counter(r.split for r in rows).keys() == {"train", "val", "test"} and {len(r.labels["votes"]["both"]) for r in rows} >= {1, 2}
    told = read("crema_d", data / "text" / "crema_d", truth="perceived")
    assert sum(r.labels["emotion"] == "neutral" for r in told) > sum(r.labels["acted"] == "neutral" for r in told)


# MER


def test_mer_tables_of_the_challenge(tmp_path):
    put(tmp_path / "train-label.csv", "name,discrete,valence\nsample_1,worried,-2.5\nsample_2,happy,\n")
    put(tmp_path / "test-labels" / "test1-label.csv", "name,discrete,valence\nsample_3,surprise,5\n")
    put(tmp_path / "transcription_en_all.csv", 'name,sentence\nsample_1,"Well, no"\nsample_3,\n')
    touch(tmp_path, "train/sample_1.avi", "test1/sample_3.mp4")
    worried, happy, surprise = read("mer", tmp_path)
    assert (worried.labels["valence"], surprise.labels["valence"]) == (-0.5, 1.0) and "valence" not in happy.labels
    assert worried.texts == {"transcript": "Well, no"} and worried.media[0].source.endswith("sample_1.avi") and happy.media == ()
    assert surprise.split == "test" and worried.split in ("train", "val") and surprise.labels["part"] == "test1"
    put(tmp_path / "train-label.csv", "name,discrete,valence\nsample_1,worried,9\n")
    with pytest.raises(DatasetError, match=r"train-label\.csv, line 2: '9'; wanted a number from -5 to 5"):
        read("mer", tmp_path)
    put(tmp_path / "train-label.csv", "name,discrete\nsample_1,wored\n")
    with pytest.raises(DatasetError, match="line 2: 'wored' is none of its labels; did you mean 'worried'"):
        read("mer", tmp_path)


def test_mer_lists_rationales_and_what_is_missing(tmp_path):
    with pytest.raises(DatasetError, match=r"holds none of train-label\.csv.*merchallenge"):
        read("mer", tmp_path)
    put(tmp_path / "MERR_coarse_grained.txt", "sample_47 85 happy\n\nsample_48 20 doubt\n")
    put_json(tmp_path / "MERR_coarse_grained.json", {"sample_47": {"caption": "A smile."}})
    put_json(tmp_path / "MERR_fine_grained.json", {"sample_47": {"smp_reason_caption": "She smiles, so .."}})
    reasons = 'names,emotions,subtitles,reasons\nsample_47,happy,"Yes, I do",other\nsample_9,"angry, sad",No,"A frown, hence .."\n'
    put(tmp_path / "gt-eng.csv", reasons)
    smile, doubt, mixed = read("mer", tmp_path)
    assert smile.texts == {"caption": "A smile.", "rationale": "other", "transcript": "Yes, I do"} and doubt.labels["emotion"] == "doubt"
    assert mixed.labels["emotions"] == ("angry", "sad") and "emotion" not in mixed.labels and mixed.split == "test"
    put(tmp_path / "MERR_coarse_grained.txt", "sample_47 happy\n")
    with pytest.raises(DatasetError, match=r"MERR_coarse_grained\.txt, line 1: 'sample_47 happy'"):
        read("mer", tmp_path)
    put(tmp_path / "MERR_coarse_grained.txt", "sample_47 85 happy\n")
    put_json(tmp_path / "MERR_coarse_grained.json", {"sample_47": {"text": "A smile."}})
    with pytest.raises(DatasetError, match=r"MERR_coarse_grained\.json, sample_47: no 'caption'"):
        read("mer", tmp_path)


# DFEW


def put_xlsx(path, rows):
    """A file as spreadsheets write it: texts shared or in the cell, numbers bare, empty cells left out."""
    cells, shared = "", []
    for r, row in enumerate(rows, 1):
        inside = ""
        for c, value in enumerate(row):
            at = f"{chr(65 + c)}{r}"
            if isinstance(value, str) and c % 2:
                inside += f'<c r="{at}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
            elif isinstance(value, str):
                inside += f'<c r="{at}" t="s"><v>{len(shared)}</v></c>'
                shared.append(value)
            elif value is not None:
                inside += f'<c r="{at}"><v>{value}</v></c>'
        cells += f'<row r="{r}">{inside}</row>'
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/worksheets/sheet1.xml", f"<worksheet {space}><sheetData>{cells}</sheetData></worksheet>")
        texts = "".join(f"<si><r><t>{escape(t)}</t></r></si>" for t in shared)
        book.writestr("xl/sharedStrings.xml", f"<sst {space}>{texts}</sst>")


VOTES = ("order", "1happy", "2sad", "3neutral", "4angry", "5surprise", "6disgust", "7fear", "annotation")


def test_dfew(tmp_path):
    put(tmp_path / "EmoLabel_DataSplit" / "train(single-labeled)" / "set_2.csv", "\ufeffvideo_name,label\n1,7\n00002,1\n9,3\n")
    put_xlsx(tmp_path / "EmoLabel_DataSplit" / "test(single-labeled)" / "set_2.xlsx", [("video_name", "label"), (3, 4.0), (None, None)])
    put_xlsx(tmp_path / "Annotation" / "annotation.xlsx", [VOTES, (1, 0, 1, 0, 0, 2, 0, 7.0, 7)])
    touch(tmp_path, "Clip/original/part_1/1.mp4", "Clip/clip_224x224_avi/00001.avi", "Clip/original/part_1/._2.mp4")
    frames = tmp_path / "Clip" / "clip_224x224" / "part_1" / "00002"
    frames.mkdir(parents=True)
    for number in (1, 3):
        Image.fromarray(np.full((4, 6, 3), 50 * number, np.uint8)).save(frames / f"00002_{number:05}.png")
    fear, happy, _, angry = read("dfew", tmp_path, fold=2)
    assert [r.labels["emotion"] for r in (fear, happy, angry)] == ["fear", "happy", "angry"] and angry.split == "test"
    assert fear.media[0].source.endswith("part_1/1.mp4") and angry.media == () and fear.split in ("train", "val")
    assert fear.labels["votes"]["fear"] == 7 and sum(fear.labels["votes"].values()) == 10 and "votes" not in happy.labels
    clip = happy.media[0].source
    assert clip.frames_THWC.shape == (2, 4, 6, 3) and clip.frame_times_s.tolist() == [0.0, 0.08] and clip.frames_THWC[1, 0, 0, 0] == 150
    with pytest.raises(DatasetError, match=r"no EmoLabel_DataSplit/train\(single-labeled\)/set_1\.csv; .*dfew-dataset"):
        read("dfew", tmp_path)
    put(tmp_path / "EmoLabel_DataSplit" / "train(single-labeled)" / "set_2.csv", "video_name,label\n1,8\n")
    with pytest.raises(DatasetError, match=r"set_2\.csv, line 2: '8' is none"):
        read("dfew", tmp_path, fold=2)
    put(tmp_path / "EmoLabel_DataSplit" / "train(single-labeled)" / "set_2.csv", "video_name,label\n3,1\n")
    with pytest.raises(DatasetError, match="1 rows are there twice, such as dfew/00003"):
        read("dfew", tmp_path, fold=2)
    put(tmp_path / "EmoLabel_DataSplit" / "test(single-labeled)" / "set_2.xlsx", "no zip")
    with pytest.raises(DatasetError, match=r"no readable \.xlsx"):
        read("dfew", tmp_path, fold=2)


# AMI

NITE = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<nite:root nite:id="root" xmlns:nite="http://nite.sourceforge.net/">{}</nite:root>'


def put_ami(root, meeting, who="A", words=("Café", "is", "fine")):
    tags = "".join(f'<w nite:id="{meeting}.{who}.words{i}" starttime="{i}.0" endtime="{i}.9">{w}</w>' for i, w in enumerate(words))
    tags += f'<w nite:id="{meeting}.{who}.words{len(words)}" starttime="3" endtime="3" punc="true">.</w>'
    tags += f'<vocalsound nite:id="{meeting}.{who}.words{len(words) + 1}" starttime="3" endtime="4" type="laugh"/>'
    (root / "words").mkdir(parents=True, exist_ok=True)
    (root / "words" / f"{meeting}.{who}.words.xml").write_bytes(NITE.format(tags).encode("latin-1"))
    name = f"{meeting}.{who}.words"
    spans = ((0, 4, f"id({name}0)..id({name}{len(words) + 1})"), (5, 6, f"id({name}1)"), (7, 8, f"id({name}{len(words) + 1})"))
    segments = "".join(
        f'<segment nite:id="{meeting}.{who}.seg{i}" channel="0" transcriber_start="{s}.0" transcriber_end="{e}.0">'
        f'<nite:child href="{name}.xml#{span}"/></segment>'
        for i, (s, e, span) in enumerate(spans)
    )
    put(root / "segments" / f"{meeting}.{who}.segments.xml", NITE.format(segments))


def put_people(root, meetings):
    told = "".join(
        f'<meeting observation="{m}"><speaker nxt_agent="A" global_name="{name}" channel="2" role="PM"/></meeting>' for m, name in meetings
    )
    put(root / "corpusResources" / "meetings.xml", NITE.format(told))


def test_ami(tmp_path):
    for meeting in ("ES2002a", "ES2011b", "IB4001", "EN2002d"):
        put_ami(tmp_path, meeting)
    touch(tmp_path, "amicorpus/ES2002a/audio/ES2002a.Headset-0.wav", "amicorpus/IB4001/audio/IB4001.Mix-Headset.wav")
    rows = {r.id: r for r in read("ami", tmp_path)}
    assert len(rows) == 8  # a segment of a laugh alone has no words
    first, second = rows["ami/ES2002a.A.seg0"], rows["ami/ES2002a.A.seg1"]
    assert first.texts["transcript"] == "Café is fine." and second.texts["transcript"] == "is"
    assert (first.media[0].start_s, first.media[0].end_s, first.media[0].source[-17:]) == (0.0, 4.0, "2002a.Headset-0.wav"[-17:])
    assert second.labels["history"] == ({"speaker": "ES2002.A", "text": "Café is fine."},) and first.group == "ami/ES2002"
    assert [rows[f"ami/{m}.A.seg0"].split for m in ("ES2002a", "ES2011b", "IB4001", "EN2002d")] == ["train", "val", "val", "test"]
    assert rows["ami/IB4001.A.seg0"].media[0].source.endswith("Mix-Headset.wav") and rows["ami/EN2002d.A.seg0"].media == ()
    put(tmp_path / "affect.csv", "meeting,speaker,start,end,valence,arousal\nES2002a,A,-0,1,1,0\nES2002a,A,1,4,0,-1\n")
    (felt,) = read("ami", tmp_path)
    assert (felt.labels["valence"], felt.labels["arousal"]) == (0.25, -0.75)


def test_ami_knows_its_people_and_says_what_is_wrong(tmp_path):
    put_ami(tmp_path, "ES2002a")
    put_ami(tmp_path, "ES2004a")
    touch(tmp_path, "ES2002a.Headset-2.wav")
    put_people(tmp_path, [("ES2002a", "FEE005"), ("ES2004a", "MEE007")])
    row = read("ami", tmp_path)[0]
    assert row.labels["speaker"] == "FEE005" and row.labels["metadata"] == {"turn": 0, "speaker_gender": "female", "role": "PM"}
    assert row.media[0].source.endswith("Headset-2.wav")
    put_people(tmp_path, [("ES2002a", "FEE005"), ("ES2004a", "FEE005")])
    with pytest.raises(DatasetError, match="FEE005 in test and train"):
        read("ami", tmp_path)
    assert len(read("ami", tmp_path, people_apart=False)) == 4
    put(tmp_path / "affect.csv", "meeting,speaker,start,end,valence,arousal\nES2002a,A,0,1,2,0\n")
    with pytest.raises(DatasetError, match=r"affect\.csv, line 2: '2'; wanted a number from -1 to 1"):
        read("ami", tmp_path)
    put(tmp_path / "words" / "ES2002a.A.words.xml", NITE.format(""))
    with pytest.raises(DatasetError, match=r"ES2002a\.A\.seg0: .*wanted words of ES2002a\.A\.words\.xml|line 2: '2'"):
        read("ami", tmp_path)
    with pytest.raises(DatasetError, match=r"no such file as ES2002a\.A\.segments\.xml; .*ed\.ac\.uk"):
        read("ami", tmp_path / "words")


# One's own folder


def test_folder_with_a_table_of_excel(tmp_path):
    (tmp_path / "t").mkdir()
    touch(tmp_path / "t", "a, b.mp4", "ü.wav")
    head = "file;Emotion;who;Text;valence;topic;turn;rating\n"
    text = head + '"a, b.mp4";joy;anna;"He said ""no""; twice";0.5;exam;3;7\nü.wav;sad;ben;Zoë’s;;;;\n'
    (tmp_path / "t" / "my.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    columns = {"path": "file", "label": "Emotion", "speaker": "who", "transcript": "Text"}
    happy, sad = read("folder", tmp_path / "t", columns=columns, classes={"joy": "happy"})
    assert happy.texts["transcript"] == 'He said "no"; twice' and happy.labels["metadata"] == {"topic": "exam", "turn": 3}
    assert (happy.labels["emotion"], happy.labels["valence"], happy.labels["rating"], happy.group) == ("happy", 0.5, "7", "anna")
    assert happy.media[0].kind == "video" and sad.media[0].kind == "audio" and "valence" not in sad.labels and "metadata" not in sad.labels
    (tmp_path / "t" / "my.csv").write_bytes(text.encode("cp1252"))
    assert read("folder", tmp_path / "t" / "my.csv", columns=columns)[1].texts["transcript"] == "Zoë’s"


def test_folder_with_json_lines_tabs_and_spans(tmp_path):
    touch(tmp_path, "a.mp4")
    told = ({"path": "a.mp4", "label": "sad", "start": 1, "end": 2.5, "split": "dev"}, {"path": "a.mp4", "start": 3, "split": "dev"})
    put(tmp_path / "labels.jsonl", "\n".join(map(json.dumps, told)))
    first, second = read("folder", tmp_path, label="mood")
    assert (first.media[0].start_s, first.media[0].end_s, first.split, first.labels) == (1.0, 2.5, "val", {"mood": "sad"})
    assert second.id == "a.mp4@3" and second.labels == {}
    (tmp_path / "labels.jsonl").unlink()
    put(tmp_path / "x.tsv", "path\tlabel\na.mp4\tsad\n")
    assert read("folder", tmp_path)[0].labels == {"emotion": "sad"}


def test_folder_of_classes(tmp_path):
    touch(tmp_path, "train/happy/a.wav", "dev/sad/a.wav", "._x.wav")
    happy_or_sad = {r.labels["emotion"]: r.split for r in read("folder", tmp_path)}
    assert happy_or_sad == {"happy": "train", "sad": "val"}
    touch(tmp_path / "other", *(f"happy/{i}.png" for i in range(80)))
    assert {r.split for r in read("folder", tmp_path / "other")} == {"train", "val", "test"}
    touch(tmp_path, "b.wav")
    with pytest.raises(DatasetError, match=r"b\.wav lies in no folder of a class"):
        read("folder", tmp_path)


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ("path,label\nb.mp4,sad\n", r"labels\.csv, line 2: no file 'b\.mp4'"),
        ("name,label\na.mp4,sad\n", "line 2: no 'path'"),
        ("path,label,valence\na.mp4,sad,2\n", "line 2: '2'; wanted a number from -1 to 1"),
        ("path,label,start,end\na.mp4,sad,2,1\n", "line 2: from 2 to 1 s"),
        ("path,label,split\na.mp4,sad,tset\n", "line 2: split 'tset'; did you mean 'test'"),
        ("path,label\na.mp4,sad,or not\n", "line 2: more or fewer fields than 2"),
        ("path,label\na.mp4\n", "line 2: more or fewer fields than 2"),
        ("path,label\np.mp4,sad\n", r"line 2: .*p\.mp4 is a pointer of git-lfs"),
        ("path,label,speaker,split\na.mp4,sad,anna,train\nc.mp4,sad,anna,test\n", "anna in test and train"),
    ],
)
def test_folder_says_what_is_wrong(tmp_path, table, match):
    touch(tmp_path, "a.mp4", "c.mp4")
    put(tmp_path / "p.mp4", POINTER)
    put(tmp_path / "labels.csv", table)
    with pytest.raises(DatasetError, match=match):
        read("folder", tmp_path)


def test_folder_wants_one_table_and_known_columns(tmp_path):
    with pytest.raises(DatasetError, match="did you mean 'label'"):
        read("folder", tmp_path, columns={"lable": "x"})
    put(tmp_path / "a.csv", "path\n")
    put(tmp_path / "b.csv", "path\n")
    with pytest.raises(DatasetError, match="holds 2 tables"):
        read("folder", tmp_path)
    with pytest.raises(DatasetError, match="neither a table nor a folder"):
        read("folder", tmp_path / "none")


# Planted leaks in sets that were here before


def test_planted_leaks_are_caught_in_published_tables(tmp_path):
    put(tmp_path / "labels.txt", "anger\njoy\n")
    put(tmp_path / "train.tsv", "a\t1\tx1\n")
    put(tmp_path / "test.tsv", "b\t0\tx1\n")
    with pytest.raises(DatasetError, match="1 rows are there twice, such as goemotions/x1"):
        read("goemotions", tmp_path, split="train")
