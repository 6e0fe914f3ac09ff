"""The commands over another's model: the same files, the same shapes."""

import json

import pytest

from tests.existing import MODELS, folder_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    parent = str(tmp_path_factory.mktemp("existing"))
    return lambda name: str(folder_of(name, parent))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_chat(run, clip, folder, name):
    code, out, err = run("chat", clip, "-q", "What happens?", "--json", "--model", folder(name), "--max-new-tokens", "4")
    assert code == 0, err
    told = json.loads(out)
    streams = told["report"]["streams"]
    assert set(streams) == {"video", "audio"} and any(s["present"] for s in streams.values())
    assert all(s["tokens"] > 0 if s["present"] else s["reason"] == f"this model has no input for {w}" for s, w in _named(streams))
    assert told["timing"]["new_tokens"] >= 0


def _named(streams):
    return [(streams["video"], "pictures"), (streams["audio"], "sound")]


def test_isolated_decoding(run, clip, folder):
    code, out, err = run("chat", clip, "-q", "What?", "--json", "--isolate", "--model", folder("qwen2_5_omni"), "--max-new-tokens", "2")
    assert code == 0, err
    assert json.loads(out)["report"]["streams"]["video"]["frames"] == 2


def test_emotion(run, clip, sound, folder):
    code, out, err = run("emotion", clip, "--json", "--labels", "happy,sad,angry", "--model", folder("qwen3_omni"))
    assert code == 0, err
    told = json.loads(out)
    assert set(told["probabilities"]) == {"happy", "sad", "angry"} and told["label"] in told["probabilities"]
    assert told["rationale"].startswith("Emotion: ")
    code, out, err = run("emotion", sound, "--json", "--model", folder("llava_onevision"))
    assert code == 3 and out == ""
    assert "this model has no input for sound" in err and "give a clip with pictures" in err


@pytest.mark.parametrize(("name", "task"), [("qwen2_audio", "emotion"), ("video_llama_3", "caption")])
def test_predict(run, clip, sound, folder, tmp_path, rows_of, name, task):
    rows = [{"id": "a", "path": clip}, {"id": "b", "path": sound}, {"id": "c", "path": clip, "start": 0.2, "end": 0.8}]
    manifest, out = tmp_path / "m.jsonl", tmp_path / "o.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("--labels", "happy,sad") if task == "emotion" else ()
    code, _, err = run("predict", manifest, "--task", task, "-o", out, "--model", folder(name), "--max-new-tokens", "4", *words)
    assert code == 0, err
    told = {row["id"]: row for row in rows_of(out)}
    assert list(told) == ["a", "b", "c"]
    assert ("error" in told["b"]) == (name == "video_llama_3")
    assert told["c"]["report"]["streams"]["audio" if name == "qwen2_audio" else "video"]["seconds"] == pytest.approx(0.6, abs=0.5)
    if task == "emotion":
        assert sum(told["a"]["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)


def test_a_model_of_another_kind_is_exit_code_4(run, clip, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    code, out, err = run("chat", clip, "-q", "What?", "--model", tmp_path)
    assert code == 4 and out == ""
    assert "'bert'" in err and "qwen2_5_omni" in err
