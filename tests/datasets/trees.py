"""Tiny trees of published sets in their official layouts, one function a reader: some clips are there, some are not."""

from __future__ import annotations

import io
import json
import tarfile

from PIL import Image

from tests.datasets.test_readers import put, touch

YOUTUBE = ("---g-f_I2yQ", "--9O4XZOge4", "nVbIUDjzWY4", "CTPAZ2euJ2Q", "_97kyZVWVG0", "9lZi22qLlEo")
WEBVID = "https://ak.picdn.net/shutterstock/videos/{0}/preview/stock-footage-{0}.mp4"


def picture(grey=77):
    file = io.BytesIO()
    Image.new("L", (16, 12), grey).convert("RGB").save(file, "JPEG")
    return file.getvalue()


def shard(path, members):
    """A tar of these names and bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def downloaded(url, clip=b"clip", end="mp4", **told):
    """Members of one sample of video2dataset, without their stem."""
    row = {"url": url, "key": "0", "status": "success", "error_message": None, **told}
    return {end: clip, "json": json.dumps(row).encode()} if clip else {"json": json.dumps(row).encode()}


def stemmed(**samples):
    return {f"{stem.removeprefix('n')}.{end}": content for stem, sample in samples.items() for end, content in sample.items()}


def audiocaps(root):
    head = "audiocap_id,youtube_id,start_time,caption\n"
    put(root / "train.csv", f"{head}91139,r1nicOVtvkQ,130,A woman talks nearby as water pours\n58146,UDGBjjwyaqE,20,Multiple clanging\n")
    five = "".join(f'{97151 + n},vfY_TJq7n_U,130,"Ducks quack, {n}"\n' for n in range(5))
    put(root / "val.csv", head + five)
    put(root / "test.csv.gz", head + five.replace("vfY_TJq7n_U", "7fmOlUlwoNg"))
    touch(root, "train/r1nicOVtvkQ_130.wav", "val/97153.wav")


def clotho(root):
    captions = ",".join(f"caption_{n}" for n in range(1, 6))
    for part, files in (
        ("development", ("Distorted AM Radio noise.wav", "Paper (1).wav")),
        ("validation", ("Rain.wav",)),
        ("evaluation", ("Rain.wav",)),
    ):
        rows = "".join(f'{name},A muddled noise.,"A TV blares, loudly.",Three,Four,Five of {part}\n' for name in files)
        put(root / f"clotho_captions_{part}.csv", f"file_name,{captions}\n{rows}")
        touch(root, f"{part}/{files[0]}")
    head = "file_name,keywords,sound_id,sound_link,start_end_samples,manufacturer,license\n"
    radio = 'Distorted AM Radio noise.wav,noise;caf\xe9 ;radio,4211,https://freesound.org/s/4211,"[0, 10]",x,http://creativecommons.org/licenses/by/3.0/\n'
    (root / "clotho_metadata_development.csv").write_bytes((head + radio + "Paper (1).wav,paper,Not found,,,,\n").encode("latin-1"))


def flickr8k(root):
    names = ("1000268201_693b08cb0e", "1001773457_577c3a7d70", "1002674143_1b742ab4b8", "1003163366_44323f5815")
    ghost = "".join(f"2258277193_586949ec62.jpg.1#{n}\tA ghost\n" for n in range(5))
    token = "".join(f"{name}.jpg#{n}\tCaption {n} of {name} .\n" for name in names for n in range(5))
    put(root / "Flickr8k_text" / "Flickr8k.token.txt", token + ghost)
    for part, name in zip(("train", "dev", "test"), names, strict=False):
        put(root / "Flickr8k_text" / f"Flickr_8k.{part}Images.txt", f"{name}.jpg\n")
    spoken = [f"{name}_{n}" for name in names[:3] for n in (4, 0)]
    put(root / "flickr_audio" / "wav2capt.txt", "".join(f"{s}.wav {s[:-2]}.jpg #{s[-1]}\n" for s in spoken))
    put(root / "flickr_audio" / "wav2spk.txt", "".join(f"{s}.wav {n}\n" for n, s in enumerate(spoken)))
    touch(root, *(f"Flicker8k_Dataset/{name}.jpg" for name in names[:2]), *(f"flickr_audio/wavs/{s}.wav" for s in spoken[:3]))


def msrvtt(root):
    clips = [
        {"category": 9, "url": f"https://www.youtube.com/watch?v={YOUTUBE[5 if n == 7 else n % 4]}", "video_id": f"video{7000 + n}",
         "start time": 137.72, "end time": 149.44, "split": "train" if n < 4 else "validate" if n == 7 else "test", "id": 7000 + n}
        for n in (0, 1, 4, 5, 7)
    ]  # fmt: skip
    clips[2]["url"] = clips[3]["url"] = f"https://www.youtube.com/watch?v={YOUTUBE[4]}"
    said = [{"caption": f"a car is shown {k}", "video_id": c["video_id"], "sen_id": k} for c in clips for k in range(20)]
    put(root / "msrvtt_data" / "MSRVTT_data.json", json.dumps({"info": {}, "videos": clips, "sentences": said}))
    put(root / "msrvtt_data" / "MSRVTT_train.9k.csv", "video_id\nvideo7000\nvideo7001\nvideo7004\nvideo7007\n")
    put(root / "msrvtt_data" / "MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence\nret0,msr7005,video7005,a person is connecting\n")
    touch(root, "videos/all/video7000.mp4", "videos/all/video7005.mp4")


def vggsound(root):
    rows = (f"{YOUTUBE[0]},1,people marching,test", f'{YOUTUBE[1]},30,"female speech, woman speaking",train',
            f"{YOUTUBE[2]},185,playing tennis,train",
            f"{YOUTUBE[0]},40,people marching,train")  # fmt: skip
    put(root / "vggsound.csv", "\n".join(rows) + "\n")
    touch(root, f"video/{YOUTUBE[0]}_000001.mp4", f"video/{YOUTUBE[2]}.mkv")


def webvid(root):
    def rows(*numbers):
        return "".join(f'{n},{WEBVID.format(n)},PT00H00M{n % 60:02}S,006001_006050,"Aerial shot, winter {n}"\n' for n in numbers)

    head = "videoid,contentUrl,duration,page_dir,name\n"
    put(root / "results_2M_train.csv", head + rows(21179416, 5629184, 31353427) + rows(1001))
    put(root / "results_2M_val.csv", head + rows(1001, 1002))
    touch(root, "videos/006001_006050/21179416.mp4", "videos/006001_006050/1002.mp4")


def howto100m(root):
    told = {
        YOUTUBE[2]: {"start": [0.0, 8.87, 9], "end": [8.37, 11.9, 9], "text": ["hey guys “so”", " take the wheel ", "no length"]},
        YOUTUBE[3]: {"start": [1.5], "end": [2.5], "text": ["then turn it"]},
    }
    put(root / "caption.json", json.dumps(told))
    put(
        root / "HowTo100M_v1.csv", f"video_id,category_1,category_2,rank,task_id\n{YOUTUBE[2]},Cars & Other Vehicles,Motorcycles,27,52907\n"
    )
    touch(root, f"videos/{YOUTUBE[2]}.webm")


def laion(root):
    members = {}
    for n in range(3):
        row = {"caption": f"A dam {n}", "url": f"https://x/{n}.jpg", "key": f"{n:09}", "status": "success", "width": 16, "height": 12,
               "sha256": f"4f2a{n % 2}", "similarity": 0.31, "exif": "{}", "error_message": None}  # fmt: skip
        members |= {f"{n:09}.jpg": picture(n), f"{n:09}.txt": f"A dam {n}".encode(), f"{n:09}.json": json.dumps(row).encode()}
    shard(root / "00000.tar", members)
    put(
        root / "00000_stats.json",
        json.dumps({"count": 5, "successes": 3, "failed_to_download": 2, "failed_to_resize": 0, "status_dict": {}}),
    )


TREES = {f.__name__: f for f in (audiocaps, clotho, flickr8k, msrvtt, vggsound, webvid, howto100m, laion)}
