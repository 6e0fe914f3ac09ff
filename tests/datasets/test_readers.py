"""Readers of published sets: tiny trees in the official layouts, what is wrong in them, and the real packs where they are."""

import gzip
import io
import json
import tarfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from unifusion import catalog
from unifusion.errors import DatasetError

PACKS = {
    "ravdess": ("ravdess_speech", "emotion", 7),
    "emodb": ("emodb", "emotion", 7),
    "fsdd": ("fsdd", "digit", 10),
    "esc10": ("esc10", "sound", 10),
    "fer2013": ("fer2013", "emotion", 7),
}
TEXTS = {"meld": 13708, "audiocaps": 51308, "nextqa": 13560, "activitynet_qa": 58000, "goemotions/ekman": 54263}
NEXTQA = "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"


def read(name, *args, **kwargs):
    return catalog.load("datasets", name)(*args, **kwargs)


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content.encode()))
    else:
        path.write_text(content, encoding="utf-8")


def touch(root, *names):
    for name in names:
        put(root / name, "")


def test_ravdess(tmp_path):
    touch(tmp_path, "Actor_12/03-01-06-01-02-01-12.wav", "Actor_17/01-01-02-02-01-01-17.mp4")
    touch(tmp_path, "Actor_24/03-02-03-01-01-01-24.wav", "._03-01-06-01-02-01-12.wav")
    fear, calm = read("ravdess", tmp_path)
    assert fear.labels == {
        "emotion": "fear", "emotion8": "fear", "language": "english", "intensity": "normal", "gender": "female",
        "metadata": {"speaker_gender": "female"},
    }  # fmt: skip
    assert fear.texts["transcript"].startswith("Dogs")
    assert (fear.group, fear.split, fear.media[0].kind) == ("ravdess_12", "train", "audio")
    assert (calm.labels["emotion"], calm.labels["emotion8"], calm.labels["intensity"]) == ("neutral", "calm", "strong")
    assert calm.media[0].kind == "video"
    assert [r.split for r in read("ravdess", tmp_path, song=True)] == ["train", "val", "test"]
    with pytest.raises(DatasetError, match="no rows of split 'dev'"):
        read("ravdess", tmp_path, split="dev")
    with pytest.raises(DatasetError, match="holds no rows"):
        read("ravdess", tmp_path / "Actor_24")
    with pytest.raises(DatasetError, match="no folder"):
        read("ravdess", tmp_path / "missing")


def test_emodb_and_fsdd(tmp_path):
    touch(tmp_path, "wav/03a01Fa.wav", "wav/16b10Lb.wav", "wav/notes.wav")
    touch(tmp_path, "recordings/7_jackson_32.wav", "recordings/0_theo_1.wav", "recordings/0_theo_2.wav")
    happy, bored = read("emodb", tmp_path)
    assert (happy.labels["emotion"], happy.group, happy.split) == ("happy", "emodb_03", "train")
    assert (bored.labels["emotion"], bored.split) == ("boredom", "test") and bored.texts["transcript"].endswith("hinlegen.")
    assert [(r.labels["digit"], r.split) for r in read("fsdd", tmp_path)] == [("zero", "test"), ("zero", "val"), ("seven", "train")]


def test_esc10_by_folders_by_esc50_names_and_by_a_list(tmp_path):
    touch(tmp_path / "a", "001 - Dog bark/1-100032-A.ogg", "009 - Sea waves/5-7-B.ogg")
    touch(tmp_path / "b", "audio/1-100032-A-0.wav", "audio/2-1-A-7.wav", "audio/3-5-A-41.wav")
    touch(tmp_path / "c", "audio/4-9-A.flac")
    put(tmp_path / "c" / "manifest.jsonl", json.dumps({"path": "audio/4-9-A.flac", "label": "rain"}))
    assert [(r.labels["sound"], r.split) for r in read("esc10", tmp_path / "a")] == [("dog bark", "train"), ("sea waves", "test")]
    assert [r.labels["sound"] for r in read("esc10", tmp_path / "b")] == ["dog bark", "chainsaw"]
    (row,) = read("esc10", tmp_path / "c")
    assert row.labels == {"sound": "rain", "fold": 4} and row.split in ("val", "test") and row.group == "freesound:9"
    put(tmp_path / "c" / "manifest.jsonl", json.dumps({"path": "audio/4-9-A.flac", "label": "rein"}))
    with pytest.raises(DatasetError, match="line 1: 'rein' is none of its labels; did you mean 'rain'"):
        read("esc10", tmp_path / "c")
    (tmp_path / "c" / "manifest.jsonl").unlink()
    with pytest.raises(DatasetError, match="does not tell its class"):
        read("esc10", tmp_path / "c")


def test_each_class_of_esc10_is_in_val_and_in_test(tmp_path):
    names = [f"00{c} - {folder}/4-{c}{k}-{take}.ogg" for c, folder in ((1, "Dog bark"), (2, "Rain")) for k in range(5) for take in "AB"]
    touch(tmp_path, *names)
    rows = read("esc10", tmp_path)
    assert Counter((r.labels["sound"], r.split) for r in rows) == {
        ("dog bark", "val"): 6, ("dog bark", "test"): 4, ("rain", "val"): 6, ("rain", "test"): 4,
    }  # fmt: skip
    assert all(len({r.split for r in rows if r.group == group}) == 1 for group in {r.group for r in rows})


def test_fer2013_without_copies_of_what_is_learnt_from(tmp_path):
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 256, (14, 14)), np.ones((4, 4)))  # larger than an image, so that it can be cropped twice
    other = np.kron(rng.integers(0, 256, (12, 12)), np.ones((4, 4)))
    pictures = {"train": scene[:48, :48], "val": scene[2:50, 4:52] * 0.8 + 20, "test": other}
    text = "".join(
        f"3,{' '.join(str(int(v)) for v in picture.ravel())},{usage}\n"
        for picture, usage in zip(pictures.values(), ("Training", "PrivateTest", "PrivateTest"), strict=True)
    )
    put(tmp_path / "fer2013.csv", "emotion,pixels,Usage\n" + text)
    assert len(read("fer2013", tmp_path, split="test")) == 2
    (kept,) = read("fer2013", tmp_path, split="test", without_copies=True)
    assert kept.id == "fer2013/00002" and len(read("fer2013", tmp_path, without_copies=True)) == 2
    for split, picture in pictures.items():
        (tmp_path / "f" / split / "happy").mkdir(parents=True)
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "f" / split / "happy" / "0.png")
    assert len({r.group for r in read("fer2013", tmp_path / "f")}) == 3


def test_a_set_that_lies_there_twice_is_refused(tmp_path):
    touch(tmp_path, "Actor_12/03-01-06-01-02-01-12.wav", "audio_speech_actors_01-24/Actor_12/03-01-06-01-02-01-12.wav")
    with pytest.raises(DatasetError, match="1 rows are there twice, such as ravdess/03-01-06-01-02-01-12"):
        read("ravdess", tmp_path)


def test_fer2013_as_table_folders_and_tar(tmp_path):
    pixels = " ".join(str(i % 256) for i in range(2304))
    put(tmp_path / "t" / "fer2013.csv", f"emotion,pixels,Usage\n3,{pixels},Training\n6,{pixels},PrivateTest\n")
    happy, neutral = read("fer2013", tmp_path / "t")
    assert (happy.labels["emotion"], happy.split, neutral.labels["emotion"], neutral.split) == ("happy", "train", "neutral", "test")
    frame = happy.media[0].source.frames_THWC
    assert frame.shape == (1, 48, 48, 3) and frame[0, 0, :5, 2].tolist() == [0, 1, 2, 3, 4] and frame.dtype == np.uint8
    image = io.BytesIO()
    Image.new("L", (48, 48), 77).save(image, "PNG")
    (tmp_path / "f" / "train" / "fear").mkdir(parents=True)
    (tmp_path / "f" / "train" / "fear" / "1.png").write_bytes(image.getvalue())
    with tarfile.open(tmp_path / "f" / "val.tar", "w") as tar:
        member = tarfile.TarInfo("images/val/Surprise/2.png")
        member.size = len(image.getvalue())
        tar.addfile(member, io.BytesIO(image.getvalue()))
    rows = {r.labels["emotion"]: r for r in read("fer2013", tmp_path / "f")}
    assert rows["surprise"].media[0].source == image.getvalue() and rows["surprise"].split in ("val", "test")
    assert rows["fear"].media[0].source == str(tmp_path / "f" / "train" / "fear" / "1.png") and rows["fear"].split == "train"
    put(tmp_path / "t" / "fer2013.csv", "emotion,pixels,Usage\n3,1 2 3,Training\n")
    with pytest.raises(DatasetError, match="fer2013/00000: cannot reshape"):
        read("fer2013", tmp_path / "t")[0]
    put(tmp_path / "t" / "fer2013.csv", "emotion,pixels,Usage\n9,1,Training\n")
    with pytest.raises(DatasetError, match="line 2: emotion '9'"):
        read("fer2013", tmp_path / "t")


MELD = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"


def test_meld_keeps_the_lines_before_and_finds_clips(tmp_path):
    rows = '1,"Oh, I?m fine",Ross,joy,positive,0,0,4,7,"a","b"\n2,What?,Joey,surprise,negative,0,2,4,7,"a","b"\n'
    rows += '3,Hi,Joey,neutral,neutral,4,0,4,7,"a","b"\n'
    (tmp_path / "train_sent_emo.csv").write_bytes((MELD + rows).encode().replace(b"I?m", b"I\x92m"))
    touch(tmp_path, "train_splits/dia0_utt2.mp4")
    first, second, other = read("meld", tmp_path)
    assert first.texts["transcript"] == "Oh, I’m fine" and first.labels["emotion"] == "happy" and first.media == ()
    assert second.labels["history"] == ({"speaker": "Ross", "text": "Oh, I’m fine"},) and second.media[0].source.endswith("dia0_utt2.mp4")
    assert other.labels["history"] == () and other.group != second.group == first.group
    put(tmp_path / "dev_sent_emo.csv.gz", MELD + "1,Hi,Joey,bliss,neutral,4,0,4,7,a,b\n")
    with pytest.raises(DatasetError, match=r"dev_sent_emo.csv.gz, line 2: 'bliss' is none of its labels"):
        read("meld", tmp_path, split="val")
    put(tmp_path / "test_sent_emo.csv", "Utterance,Speaker\nHi,Joey\n")
    with pytest.raises(DatasetError, match="no column 'Emotion'; its columns are Utterance, Speaker"):
        read("meld", tmp_path, split="test")
    put(tmp_path / "test_sent_emo.csv", "version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DatasetError, match="pointer of git-lfs"):
        read("meld", tmp_path, split="test")


def test_goemotions(tmp_path):
    put(tmp_path / "labels.txt", "anger\njoy\nneutral\n")
    put(tmp_path / "train.tsv.gz", 'So "good\t1\tx1\nHm\t0,2\tx2\n')
    good, mixed = read("goemotions", tmp_path)
    assert good.texts["transcript"] == 'So "good' and good.labels == {"emotions": ("happy",), "emotion": "happy"}
    assert mixed.labels == {"emotions": ("angry", "neutral")}
    put(tmp_path / "train.tsv.gz", "Hm\t7\tx2\n")
    with pytest.raises(DatasetError, match="line 1: labels '7'"):
        read("goemotions", tmp_path)
    put(tmp_path / "train.tsv.gz", "Hm\n")
    with pytest.raises(DatasetError, match="line 1: too few fields"):
        read("goemotions", tmp_path)


def test_audiocaps_joins_captions_of_a_clip(tmp_path):
    put(tmp_path / "val.csv", 'audiocap_id,youtube_id,start_time,caption\n1,-ab,30,"Rain, wind"\n2,-ab,30,Rain falls\n3,cd,0,A dog\n')
    touch(tmp_path, "val/-ab_30.wav")
    rain, dog = read("audiocaps", tmp_path, split="val")
    assert rain.labels["captions"] == ("Rain, wind", "Rain falls") and rain.media[0].source.endswith("-ab_30.wav")
    assert dog.media == () and dog.texts["caption"] == "A dog"
    with pytest.raises(DatasetError, match=r"holds none of test\.csv"):
        read("audiocaps", tmp_path, split="test")


def test_nextqa_and_activitynet_qa(tmp_path):
    put(tmp_path / "val.csv", NEXTQA + "40,369,640,480,how,2,6,CH,a,b,c,d,e\n")
    put(tmp_path / "map_vid_vidorID.json", '{"40": "1164/40"}')
    touch(tmp_path, "videos/1164/40.mp4", "videos/v_x1.webm")
    (row,) = read("nextqa", tmp_path)
    assert row.labels["options"] == ("a", "b", "c", "d", "e") and row.texts["answer"] == "c" and row.media[0].source.endswith("1164/40.mp4")
    put(tmp_path / "val_q.json", '[{"video_name": "x1", "question": "is it", "question_id": "v_x1_3"}]')
    put(tmp_path / "val_a.json", '[{"answer": "no", "type": 3, "question_id": "v_x1_3"}]')
    (row,) = read("activitynet_qa", tmp_path)
    assert (row.texts["answer"], row.labels["type"], row.group) == ("no", "yes or no", "x1") and row.media[0].source.endswith("v_x1.webm")
    put(tmp_path / "val_a.json", "[]")
    with pytest.raises(DatasetError, match="no answer to 'v_x1_3'"):
        read("activitynet_qa", tmp_path)
    put(tmp_path / "val_a.json", "[{]")
    with pytest.raises(DatasetError, match=r"val_a\.json, line 1"):
        read("activitynet_qa", tmp_path)
    put(tmp_path / "val.csv", NEXTQA + "40,369,640,480,how,7,6,CH,a,b,c,d,e\n")
    with pytest.raises(DatasetError, match="line 2: answer '7'"):
        read("nextqa", tmp_path)


@pytest.mark.parametrize("name", PACKS)
def test_real_packs_have_the_labels_of_their_lists_and_no_speaker_in_two_splits(data, name):
    folder, key, classes = PACKS[name]
    manifest = [json.loads(line) for line in (data / folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = list(read(name, data / folder))
    wanted = {r["id"]: r["label"] for r in manifest}
    assert {r.id: r.labels[key] for r in rows} == wanted and len(set(wanted.values())) == classes
    said = {r["id"]: r.get("text") for r in manifest if r.get("text")}
    assert all(r.texts["transcript"] == said[r.id] for r in rows if r.id in said)
    published = {r["id"]: r["split"] for r in manifest}
    assert all((r.split == "train") == (published[r.id] == "train") for r in rows)
    groups = {part: {r.group for r in rows if r.split == part} for part in ("train", "val", "test")}
    assert groups["train"].isdisjoint(groups["val"] | groups["test"]) and all(groups.values())


@pytest.mark.parametrize("name", TEXTS)
def test_real_texts_are_read_whole(data, name):
    rows = list(read(name.partition("/")[0], data / "text" / name))
    assert len(rows) == len({r.id for r in rows}) == TEXTS[name]
    assert all(count > 20 for count in Counter(r.split for r in rows).values())


def test_said_words_by_many_voices():
    pytest.importorskip("espeakng_loader", reason="voices need espeakng-loader: pip install 'unifusion-x[world]'")
    rows = read("said", words=("seven", "two"), count=40)
    assert Counter(r.labels["digit"] for r in rows) == {"seven": 20, "two": 20} and len({r.group for r in rows}) > 10
    assert len({r.id for r in rows}) == 40 and {r.split for r in rows} == {"train"}
    first, again, other = (
        rows[3],
        read("said", words=("seven", "two"), count=40)[3],
        read("said", words=("seven", "two"), count=40, seed=1)[3],
    )
    sound = first.media[0].source.waveform_N
    np.testing.assert_array_equal(sound, again.media[0].source.waveform_N)
    assert first.texts["transcript"] == "two" and not np.array_equal(sound, other.media[0].source.waveform_N)
    assert 0.15 < first.media[0].source.duration_s < 1.5 and np.abs(sound).max() > 0.05
    for wrong in ({"split": "val"}, {"words": ()}, {"count": 0}):
        with pytest.raises(DatasetError, match="ask for train"):
            read("said", **wrong)
    with pytest.raises(IndexError):
        rows[40]
