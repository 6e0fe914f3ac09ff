"""`unifusion emotion --explain`: printed, as JSON, written and drawn, of clips, of several, and of the rows of a manifest."""

import json
import re

import pytest
from PIL import Image

from tests.cli import films

LABELS = ("--labels", "calm,angry")


@pytest.fixture
def feel(run, toy_folder, evidence):
    return lambda *words: run("emotion", *words, *LABELS, "--model", toy_folder)


@pytest.fixture
def fuse(run, fusion_folder):
    return lambda *words: run("emotion", *words, "--model", fusion_folder)


def one(result):
    """The object that a command printed."""
    code, out, err = result
    assert code == 0, err
    return json.loads(out)


def test_json_has_the_plain_answer_and_what_it_hangs_on(feel, clip):
    plain, told = one(feel(clip, "--json")), one(feel(clip, "--json", "--explain"))
    assert "explanation" not in plain
    found = told["explanation"]
    assert {k: told[k] for k in ("label", "valence", "evidence")} == {k: plain[k] for k in ("label", "valence", "evidence")}
    assert told["probabilities"] == pytest.approx(plain["probabilities"], abs=1e-4)
    assert found["label"] == told["label"] and found["probability"] == pytest.approx(told["probabilities"][told["label"]], abs=1e-4)
    assert {(w["stream"], w["start_s"], w["end_s"]) for w in found["windows"]} == {("video", 0.0, 1.0), ("audio", 0.0, 1.0)}
    for window in found["windows"]:
        assert window["drop"] == pytest.approx(found["probability"] - window["probability"], abs=2e-6)
    assert set(found["without"]) == {"video", "audio"}


def test_windows_of_another_length(feel, fuse, sound):
    for tell in (feel, fuse):
        found = one(tell(sound, "--json", "--explain", "--window", "0.25"))["explanation"]
        assert [w["start_s"] for w in found["windows"]] == [0.0, 0.25, 0.5, 0.75] and found["without"] == {}


def test_people_see_bars_of_each_window_and_what_became_of_each_claim(feel, clip, evidence):
    evidence("Sound 0.0-0.5 s: a laugh.", "Picture 0.0-1.0 s: a smile.")
    code, out, _ = feel(clip, "--explain", "--window", "0.5")
    assert code == 0
    assert re.search(r"^(calm|angry) [\d.]+% hangs on \(percentage points lost without it\):$", out, re.MULTILINE)
    bars = re.findall(r"^  (video|audio) +([\d.]+)- +([\d.]+) s +([+-][\d.]+)(?: ([#-]+))?$", out, re.MULTILINE)
    assert [(n, a, b) for n, a, b, *_ in bars] == [(n, a, b) for n in ("video", "audio") for a, b in (("0.0", "0.5"), ("0.5", "1.0"))]
    assert max(len(bar) for *_, bar in bars) == 24 and all(set(bar) <= {"#" if drop[0] == "+" else "-"} for *_, drop, bar in bars)
    assert len(re.findall(r"^  without (?:video|audio): (?:calm|angry) [\d.]+%$", out, re.MULTILINE)) == 2
    verdict = r"^  (supported|not supported) \([+-][\d.]+\): (sound|picture) 0\.0-(0\.5|1\.0) s: a (laugh|smile)$"
    claims = re.findall(verdict, out, re.MULTILINE)
    assert [c[1:] for c in claims] == [("sound", "0.5", "laugh"), ("picture", "1.0", "smile")]
    right = sum(c[0] == "supported" for c in claims)
    assert out.splitlines()[-1] == f"support {right / 2:.2f} ({right} of 2 claims)"
    assert out.count("a laugh") == 2, "in the rationale and where it is tried"


def test_a_folder_holds_the_same_and_pictures(feel, clip, tmp_path, evidence):
    evidence("Sound 0.0-0.5 s: a laugh.")
    code, out, err = feel(clip, "--json", "-d", tmp_path / "new" / "a", "--maps")
    assert code == 0
    folder = tmp_path / "new" / "a"
    files = {"explanation.json", *(f"{n}.{e}" for n in ("timeline", "map-video", "map-audio") for e in ("png", "svg"))}
    assert {p.name for p in folder.iterdir()} == files and err.count("wrote ") == len(files)
    told, printed = json.loads((folder / "explanation.json").read_text()), json.loads(out)
    looked = told["explanation"].pop("maps")
    assert told.pop("clips") == [clip] and told == {**printed, "timing": told["timing"]}
    assert {m["stream"] for m in looked} == {"video", "audio"} and all(len(m["times_s"]) == len(m["weights"]) for m in looked)
    for name in files - {"explanation.json"}:
        if name.endswith(".png"):
            assert Image.open(folder / name).size[0] > 300
        else:
            assert (folder / name).read_text().startswith("<?xml")
    before = {p.name: p.read_bytes() for p in folder.glob("*.*g")}
    feel(clip, "--json", "-d", folder, "--maps")
    assert before == {p.name: p.read_bytes() for p in folder.glob("*.*g")}, "the same figures, the same bytes"


def test_a_fusion_is_explained_alike(fuse, clip, tmp_path):
    told = one(fuse(clip, "--json", "-d", tmp_path, "--maps", "--transcript", "I do not know."))
    windows = {w["stream"] for w in told["explanation"]["windows"]}
    assert {"video", "audio"} <= windows and set(told["explanation"]["without"]) >= {"video", "audio", "text"}
    assert told["explanation"]["support"] is None and told["rationale"] == ""
    looked = json.loads((tmp_path / "explanation.json").read_text())["explanation"]["maps"]
    assert {m["of"] for m in looked} == {"attention of the fusion"} and (tmp_path / "map-audio.png").is_file()


def test_several_clips_each_have_a_folder_and_those_of_one_moment_one(fuse, clip, sound, tmp_path):
    code, out, err = fuse(clip, "missing.mp4", sound, "--json", "-d", tmp_path / "each")
    assert code == 3 and "missing.mp4" in err
    assert [json.loads(line)["clip"] for line in out.splitlines()] == [clip, sound]
    assert sorted(p.name for p in (tmp_path / "each").iterdir()) == ["001-clip", "003-tone"]
    both = one(fuse(clip, sound, "--together", "--json", "-d", tmp_path / "one"))
    assert "clip" not in both and (tmp_path / "one" / "explanation.json").is_file()


@pytest.mark.parametrize("muted", ["--no-picture", "--no-sound"])
def test_what_is_left_out_has_no_windows(feel, clip, tmp_path, muted):
    found = one(feel(clip, muted, "--json", "-d", tmp_path))["explanation"]
    assert {w["stream"] for w in found["windows"]} == {"audio" if muted == "--no-picture" else "video"} and found["without"] == {}


def test_a_still_has_one_window(fuse, tmp_path):
    Image.fromarray(films.frames(1)[0]).save(tmp_path / "face.png")
    found = one(fuse(tmp_path / "face.png", "--json", "-d", tmp_path / "out", "--maps"))["explanation"]
    assert [(w["stream"], w["start_s"]) for w in found["windows"]] == [("video", 0.0)]


def test_names_steer_neither_terminal_nor_pictures(fuse, tmp_path):
    names = ["=1+1 $x$\x1b[31m.wav", "-b.wav"]
    clips = [films.write(tmp_path / name, heard=films.noise(0.5)) for name in names]
    code, out, err = fuse(*clips, "-d", tmp_path / "out")
    assert code == 0 and "\x1b" not in out + err and "\\x1b[31m" in out
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_clip_that_cannot_be_read_leaves_nothing(feel, tmp_path):
    code, out, err = feel("missing.mp4", "-d", tmp_path / "out")
    assert code == 3 and out == "" and not (tmp_path / "out").exists() and "Traceback" not in err


def test_pictures_need_what_draws_them(feel, clip, tmp_path, monkeypatch):
    monkeypatch.setattr("unifusion.evaluation.timeline.can_draw", lambda: False)
    code, _, err = feel(clip, "-d", tmp_path / "out")
    assert code == 2 and "unifusion-x[plots]" in err and not (tmp_path / "out").exists()
    assert feel(clip, "--explain")[0] == 0


@pytest.fixture
def manifest(clip, sound, tmp_path):
    rows = {"a": {"path": clip}, "b": {"path": "missing.mp4"}, "c": {"audio": sound}, "d": {"video": clip, "audio": sound}}
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps({"id": key, **row}) + "\n" for key, row in rows.items()))
    return path


def test_rows_of_a_manifest_have_their_explanation_and_are_gone_on_with(feel, manifest, tmp_path, rows_of, evidence):
    evidence("Sound 0.0-1.0 s: a laugh.")
    out = tmp_path / "o.jsonl"
    code, printed, err = feel(manifest, "-o", out, "--explain", "--batch-size", "2")
    assert code == 0 and printed == "", err
    whole = rows_of(out)
    assert [r["id"] for r in whole] == [*"abcd"] and [("explanation" in r) for r in whole] == [True, False, True, True]
    supports = [r["explanation"]["support"] for r in whole if "explanation" in r]
    assert f"mean support {sum(supports) / 3:.3f} over 3 rows with evidence, 0 without" in err
    assert {w["clip"] for w in whole[3]["explanation"]["windows"]} == {0, 1}
    out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:2]) + b'{"id": "c", "la')
    code, _, err = feel(manifest, "-o", out, "--explain")
    assert code == 0 and "4 rows, 2 were there already" in err
    for row, before in zip(rows_of(out), whole, strict=True):
        assert row["id"] == before["id"] and row.get("explanation", {}).keys() == before.get("explanation", {}).keys()
        if "explanation" in row:
            assert row["explanation"]["probability"] == pytest.approx(before["explanation"]["probability"], abs=1e-4)
    code, _, err = feel(manifest, "-o", out)
    assert code != 0 and "--overwrite" in err, "answers without explanation are another file"
    assert feel(manifest, "-o", out, "--explain", "--window", "0.5")[0] != 0


def test_a_manifest_without_evidence_has_no_support(fuse, manifest, tmp_path):
    code, _, err = fuse(manifest, "-o", tmp_path / "o.jsonl", "--explain")
    assert code == 0 and "no rationale of 3 rows names evidence" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("CLIP", "--explain", "--stream"), "exclude each other"), (("CLIP", "-d", "x", "--stream"), "exclude each other"),
        (("--dialogue", "t.jsonl", "--explain"), "exclude each other"), (("--dialogue", "t.jsonl", "--stream"), "exclude each other"),
        (("CLIP", "--maps"), "--maps goes with -d"), (("CLIP", "--explain", "--maps"), "--maps goes with -d"),
        (("CLIP", "--reply"), "--reply goes with --dialogue"), (("CLIP", "--window", "2"), "--window goes with --explain or --stream"),
        (("CLIP", "--hop", "2"), "--hop goes with --stream"), (("CLIP", "--smooth", "0"), "--smooth goes with --stream"),
        (("CLIP", "--explain", "--rate", "8000"), "--rate goes with --stream"), (("CLIP", "--explain", "--window", "0"), "--window"),
        (("--explain",), "name a clip"), (("m.jsonl", "--explain"), "say with -o"),
        (("m.jsonl", "-o", "o.jsonl", "-d", "x"), "-d draws single"),
        (("CLIP", "--dialogue", "t.jsonl"), "names its own clips"), (("a.wav", "b.wav", "--explain", "-o", "o.jsonl"), "one manifest"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_before_anything_is_loaded(run, clip, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("emotion", *(clip if w == "CLIP" else w for w in words), "--model", "no/such/model")
    assert code == 2 and said in err and out == "" and list(tmp_path.iterdir()) == []
