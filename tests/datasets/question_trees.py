"""Tiny trees of published question sets in their official layouts, one function a reader: some clips are there, some are not."""

from __future__ import annotations

import io
import json

import numpy as np
from PIL import Image

from tests.datasets.test_readers import put, touch

SRT = "1\n00:00:00,500 --> 00:00:02,000\n(Ted:)Where is\nmy drink?\n\n2\n00:00:07,000 --> 00:00:09,000\n(Robin:)Here.\n\n"


def put_json(path, content):
    put(path, json.dumps(content, ensure_ascii=False))


def jpeg(grey, size=(64, 48)):
    file = io.BytesIO()
    Image.fromarray(np.full((*size[::-1], 3), grey, np.uint8)).save(file, "JPEG", quality=95)
    return file.getvalue()


def frames(folder, count=6, step=30):
    """Numbered pictures, each lighter by `step`."""
    folder.mkdir(parents=True)
    for n in range(count):
        (folder / f"{n + 1:05}.jpg").write_bytes(jpeg(n * step))


def msrvtt_qa(root):
    def rows(*asked):
        return [{"id": i, "video_id": v, "category_id": 9, "question": f"what is shown in {i}?", "answer": "car"} for i, v in asked]

    put_json(root / "train_qa.json", rows((0, 0), (1, 0), (2, 1), (3, 2)))
    put_json(root / "val_qa.json", rows((4, 6513)))
    put_json(root / "test_qa.json", rows((5, 7010), (6, 7010)))
    videos = [{"video_id": f"video{n}", "url": f"https://www.youtube.com/watch?v={n:011}"} for n in (0, 1, 6513, 7010)]
    videos.append({"video_id": "video2", "url": videos[3]["url"]})
    said = [{"video_id": v["video_id"], "caption": "a car", "sen_id": n} for n, v in enumerate(videos)]
    put_json(root / "msrvtt_data" / "MSRVTT_data.json", {"videos": videos, "sentences": said})
    touch(root, "videos/all/video0.mp4", "videos/all/video7010.mp4")


def msvd_qa(root):
    def rows(*asked):
        return [{"id": i, "video_id": v, "question": "who is chewing?", "answer": "chipmunk"} for i, v in asked]

    put_json(root / "train_qa.json", rows((0, 1), (1, 2), (2, 3)))
    put_json(root / "val_qa.json", rows((3, 4)))
    put_json(root / "test_qa.json", rows((4, 5)))
    clips = ("-4wsuPCjDBc_5_15", "-7KMZQEsJW4_205_208", "-8y1Q0rA3n8_108_115", "-8y1Q0rA3n8_95_102", "-9CUm-2cui8_39_44")
    put(root / "youtube_mapping.txt", "".join(f"{clip} vid{n}\n" for n, clip in enumerate(clips, 1)))
    touch(root, "YouTubeClips/-4wsuPCjDBc_5_15.avi", "video/vid5.avi")


def avqa(root):
    def row(number, name, kind="View", **changes):
        told = {"id": number, "video_name": name, "video_id": 341, "question_text": "What happened in the video?",
                "multi_choice": ["motorboat", "Yacht consignment", "Sailboat set sail", "Consignment car"], "answer": 1,
                "question_relation": kind, "question_type": "Happening"}  # fmt: skip
        return {**told, **changes}

    train = [row(183, "-HG3Omg_89c_000030"), row(184, "--CudrykwoE_000067", "Sound"), row(5, "-011qJFjM4M_000056")]
    put_json(root / "train_qa.json", train)
    put_json(root / "val_qa.json", [row(185, "--CudrykwoE_000078", "Both", answer=3), row(186, "-HJQVouJd2w_000026")])
    touch(root, "videos/-HG3Omg_89c_000030.mp4", "wav/--CudrykwoE.wav")


def music_avqa(root):
    def row(number, video, answer="yes", **changes):
        told = {"video_id": f"{video:08}", "question_id": number, "type": '["Audio", "Comparative"]', "anser": answer,
                "question_deleted": 0, "question_content": "Is the <Object> on the <LR> louder than the <Object>?",
                "templ_values": '["acoustic_guitar", "left", "piano"]'}  # fmt: skip
        return {**told, **changes}

    sound = {"type": '["Audio-Visual", "Location"]', "question_content": "Which is the instrument？ ", "templ_values": "[]"}
    put_json(root / "json_update" / "avqa-train.json", [row(1, 1), row(2, 2), row(3, 7)])
    put_json(root / "json_update" / "avqa-val.json", [row(4, 3), row(5, 2)])
    put_json(root / "json_update" / "avqa-test.json", [row(6, 2, "acoustic_guitar", **sound), row(7, 4, type='["Visual", "Counting"]')])
    put_json(root / "json" / "avqa-test.json", [row(6, 2), row(8, 4), row(8, 4, "no")])
    touch(root, "MUSIC-AVQA-videos-Real/00000002.mp4", "MUSIC-AVQA-videos-Synthetic/00000003.mp4")


def tvqa(root):
    def row(number, name, ts, **changes):
        told = {"a0": "A martini glass", "a1": "Nachos", "a2": "Her purse", "a3": "Marshall's book", "a4": "A beer bottle ",
                "qid": number, "answer_idx": 4, "q": "What is Robin holding?", "ts": ts, "vid_name": name,
                "show_name": "How I Met You Mother"}  # fmt: skip
        return {k: v for k, v in {**told, **changes}.items() if v is not None}

    def lines(*rows):
        return "".join(f"{json.dumps(r)}\n" for r in rows)

    clip, other, third = (f"met_s06e22_seg01_clip_0{n}" for n in (2, 3, 4))
    put(
        root / "tvqa_qa_release" / "tvqa_train.jsonl",
        lines(row(7, clip, "1.21-3.49"), row(8, clip, "NaN-NaN"), row(9, other, "0.3-1"), row(10, third, "0-4")),
    )
    put(root / "tvqa_qa_release" / "tvqa_val.jsonl", lines(row(11, "s01e01_seg01_clip_00", "19.18-19.18", answer_idx=0)))
    put(root / "tvqa_qa_release" / "tvqa_test_public.jsonl", lines(row(12, "friends_s01e01_seg01_clip_00", "2-5", answer_idx=None)))
    put(root / "tvqa_subtitles" / f"{clip}.srt", SRT)
    frames(root / "frames_hq" / "met_frames" / other)
    touch(root, f"videos/met/{clip}.mp4", "videos/friends_s01e01_seg01_clip_00.mkv")


def mvbench(root):
    row = {"video": "ZS9XR.mp4", "question": "What happened?", "candidates": ["Ate.", "Tidied.", "Put down."], "answer": "Tidied."}
    put_json(root / "json" / "action_sequence.json", [{**row, "start": 11.1, "end": 22.4}, {**row, "video": "B.mp4", "start": 5, "end": 5}])
    put_json(root / "json" / "moving_count.json", [{**row, "video": "video_10000-11000/video_10009.mp4"}])
    put_json(root / "json" / "action_antonym.json", [{**row, "video": "166583.webm"}])
    episode = {**row, "video": "castle_s01e01_seg01_clip_00", "start": 0.5, "end": 1.5, "subtitle": "Castle: Hello. "}
    put_json(root / "json" / "episodic_reasoning.json", [episode, {**episode, "video": "gone"}])
    frames(root / "video" / "tvqa" / "frames_fps3_hq" / "castle_s01e01_seg01_clip_00")
    touch(root, "video/star/Charades_v1_480/ZS9XR.mp4", "video/data0613/clevrer/video_validation/video_10000-11000/video_10009.mp4")
    touch(root, "ssv2_video_mp4/166583.mp4")


MME = {
    "video_id": "001", "duration": "short", "domain": "Knowledge", "sub_category": "Humanity & History",
    "url": "https://www.youtube.com/watch?v=fFjv93ACGo8", "videoID": "fFjv93ACGo8", "question_id": "001-1", "task_type": "Counting Problem",
    "question": "Which kind of the decoration has the largest number?", "answer": "C",
    "options": ["A. Apples.", "B. Candles.", "C. Berries.", "D. The three kinds are of the same number."],
}  # fmt: skip


def video_mme(root):
    more = {**MME, "video_id": "601", "duration": "long", "videoID": "N1cdUjctpG8", "question_id": "601-1", "answer": "A"}
    put_json(root / "videomme.json", [MME, {**MME, "question_id": "001-2", "answer": "D"}, more])
    put(root / "subtitle" / "fFjv93ACGo8.srt", SRT)
    touch(root, "data/fFjv93ACGo8.mp4")


def nextqa(root):
    head = "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"
    put(root / "val.csv", f"{head}40,369,640,480,how,2,6,CH,a,b,c,d,e\n41,369,640,480,why,0,6,CW,a,b,c,d,e\n")
    put(root / "test.csv", f"{head}42,369,640,480,when,1,0,TN,a,b,c,d,e\n")
    put_json(root / "map_vid_vidorID.json", {"40": "1164/4010", "41": "1164/41"})
    touch(root, "videos/1164/4010.mp4")


def activitynet_qa(root):
    for part, names in (("train", ("x1", "x2")), ("val", ("x3",)), ("test", ("x4",))):
        put_json(root / f"{part}_q.json", [{"video_name": name, "question": "is it blue", "question_id": f"v_{name}_3"} for name in names])
        put_json(root / f"{part}_a.json", [{"answer": "no", "type": 3, "question_id": f"v_{name}_3"} for name in names])
    touch(root, "videos/v_x1.webm", "x4.mp4")


TREES = {f.__name__: f for f in (msrvtt_qa, msvd_qa, avqa, music_avqa, tvqa, mvbench, video_mme, nextqa, activitynet_qa)}
