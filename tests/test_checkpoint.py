"""The checkpoint contract: one folder, strict, atomic, safetensors and JSON only."""

import json
import os
import pickle
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.toys import chat_model, run_apart, talk, video
from unifusion import atomic, checkpoint
from unifusion.errors import CheckpointError, UniFusionError
from unifusion.models.chat import UniFusionForConditionalGeneration


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model, its processor and the folder it was saved to."""
    model, processor = chat_model()
    folder = tmp_path_factory.mktemp("saved") / "toy"
    checkpoint.save(model, processor, folder, provenance={"seed": 7, "path": Path("x")}, card="# A toy\n")
    return model, processor, folder


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of the folder to spoil."""
    import shutil

    return Path(shutil.copytree(saved[2], tmp_path / "copy"))


def logits(model, processor):
    with torch.no_grad():
        return model(**processor([talk([video(seed=1)], "what?")])).logits


def edit(path, **changes):
    """Change keys of a JSON file; None removes one."""
    raw = json.loads(path.read_text())
    raw.update(changes)
    path.write_text(json.dumps({k: v for k, v in raw.items() if v is not None}))


def test_round_trip(saved):
    model, processor, folder = saved
    again, its_processor = checkpoint.load(folder)
    assert torch.equal(logits(again, its_processor), logits(model, processor))
    assert not again.training and next(again.parameters()).dtype == torch.float32
    assert again.generation_config.eos_token_id == processor.end_ids
    names = {p.name for p in folder.iterdir()}
    assert names == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "processor_config.json",
        "chat_template.jinja", "provenance.json", "README.md",
    }  # fmt: skip
    assert json.loads((folder / "provenance.json").read_text()) == {"seed": 7, "path": "x"}
    assert (folder / "README.md").read_text() == "# A toy\n"
    assert checkpoint.weights_info(folder)["parameters"] == sum(p.numel() for p in model.parameters())


def test_the_config_holds_names_and_no_code(saved):
    raw = json.loads((saved[2] / "config.json").read_text())
    assert {(s["encoder"], s["adapter"]) for s in raw["streams"].values()} == {
        ("videomae", "windowed_qformer"),
        ("whisper", "windowed_qformer"),
    }
    assert raw["architectures"] == ["UniFusionForConditionalGeneration"] and raw["model_type"] == "unifusion"
    assert raw["stream_order"] == ["video", "audio"]
    assert "unifusion." not in (saved[2] / "config.json").read_text()


@pytest.mark.parametrize("loader", [checkpoint.load, UniFusionForConditionalGeneration.from_pretrained])
def test_missing_unknown_and_misshapen_weights_are_named(copy, loader):
    path = copy / "model.safetensors"
    state = load_file(path)
    key = "adapters.video.projection.weight"

    def refused(changed, match):
        save_file(changed, path, metadata={"format": "pt"})
        with pytest.raises(UniFusionError, match=match) as caught:
            loader(copy)
        assert isinstance(caught.value, CheckpointError) and key in str(caught.value)

    refused({k: v for k, v in state.items() if k != key}, "missing")
    refused({**state, f"{key}.more": state[key].clone()}, "unknown")
    refused({**state, key: state[key][:, :-1].contiguous()}, "shape differs")


def test_a_folder_without_its_processor_is_refused(copy):
    (copy / "processor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds no processor_config\.json; copy the checkpoint again"):
        checkpoint.load(copy)


@pytest.mark.parametrize("adapter", ["linear", "mlp", "qformer", "windowed_qformer", "perceiver"])
def test_no_weight_missing_from_a_file_comes_up_as_garbage(adapter, tmp_path):
    """Pitfall 2: on the meta device, what a file lacks is uninitialised memory, queries and buffers above all."""
    model, processor = chat_model(adapter)
    folder = checkpoint.save(model, processor, tmp_path / "a", provenance={})
    loaded, _ = checkpoint.load(folder)
    for name, tensor in [*loaded.named_parameters(), *loaded.named_buffers()]:
        assert tensor.device.type == "cpu" and torch.isfinite(tensor.float()).all(), name
    originals = dict([*model.named_parameters(), *model.named_buffers()])
    for name, tensor in [*loaded.named_parameters(), *loaded.named_buffers()]:
        assert torch.equal(tensor, originals[name]), f"{name} came up changed, buffers that are not saved included"
    state = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in state.items() if not k.startswith("adapters.audio.")}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    with pytest.raises(CheckpointError, match=r"missing: adapters\.audio\."):
        checkpoint.load(folder)
    raw, info = super(UniFusionForConditionalGeneration, UniFusionForConditionalGeneration).from_pretrained(
        folder, output_loading_info=True
    )
    assert set(info["missing_keys"]) == {k for k in state if k.startswith("adapters.audio.")}
    for name, tensor in [*raw.named_parameters(), *raw.named_buffers()]:
        assert torch.isfinite(tensor.float()).all() and float(tensor.float().abs().max()) < 1e3, name


def test_half_precision_on_disk_is_single_in_memory(saved, tmp_path):
    model, processor, whole = saved
    folder = checkpoint.save(model, processor, tmp_path / "half", provenance={}, dtype=torch.float16)
    assert {t.dtype for t in load_file(folder / "model.safetensors").values()} == {torch.float16}
    assert (folder / "model.safetensors").stat().st_size < 0.6 * (whole / "model.safetensors").stat().st_size
    again, its_processor = checkpoint.load(folder)
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert torch.allclose(logits(again, its_processor), logits(model, processor), atol=0.5, rtol=0.05)
    same, _ = checkpoint.load(folder, dtype=torch.bfloat16)
    assert {p.dtype for p in same.parameters()} == {torch.bfloat16}


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    model, processor = chat_model()
    folder = checkpoint.save(model, processor, tmp_path / "a", provenance={"n": 1})
    weight = model.adapters["video"].projection.weight
    with torch.no_grad():
        weight[0, 0] = 1e6  # finite, but not in float16
    with pytest.raises(CheckpointError, match=r"adapters\.video\.projection\.weight.*float16"):
        checkpoint.save(model, processor, folder, provenance={"n": 2}, dtype=torch.float16)
    with torch.no_grad():
        weight[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="not finite"):
        checkpoint.save(model, processor, folder, provenance={"n": 3})
    assert json.loads((folder / "provenance.json").read_text()) == {"n": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_large_models_are_sharded(saved, tmp_path, monkeypatch):
    model, processor, _ = saved
    monkeypatch.setattr(checkpoint, "_SHARD_BYTES", 60_000)
    folder = checkpoint.save(model, processor, tmp_path / "a", provenance={})
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 3 and all(s.stat().st_size < 60_000 + 40_000 for s in shards)
    again, its_processor = checkpoint.load(folder)
    assert torch.equal(logits(again, its_processor), logits(model, processor))
    shards[1].unlink()
    with pytest.raises(CheckpointError):
        checkpoint.load(folder)


def test_user_code_may_be_used_and_not_saved(tmp_path):
    from tests.toys import LLAMA, byte_tokenizer, streams
    from unifusion.models.build import build_chat_model

    both = streams()
    both["video"].encoder = "unifusion.encoders.videomae:VideoMAE"
    model, processor = build_chat_model(LLAMA, both, tokenizer=byte_tokenizer())
    with pytest.raises(CheckpointError, match="catalog entries only"):
        checkpoint.save(model, processor, tmp_path / "a", provenance={})
    assert not (tmp_path / "a").exists()


def test_saving_again_replaces_the_whole_folder(saved, tmp_path):
    model, processor, _ = saved
    folder = checkpoint.save(model, processor, tmp_path / "a", provenance={"n": 1})
    (folder / "stray.txt").write_text("old")
    checkpoint.save(model, processor, folder, provenance={"n": 2})
    assert not (folder / "stray.txt").exists() and json.loads((folder / "provenance.json").read_text())["n"] == 2
    assert folder.stat().st_mode & 0o777 == 0o777 & ~_umask(), "others may read it as any folder"


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_failed_save_leaves_the_old_one(saved, tmp_path, monkeypatch):
    model, processor, _ = saved
    folder = checkpoint.save(model, processor, tmp_path / "a", provenance={"n": 1})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(model, processor, folder, provenance={"n": 2})
    assert json.loads((folder / "provenance.json").read_text())["n"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_killed_while_saving(tmp_path, at):
    """Before the renames, at the first, at the second: the old folder is there, or `sweep` puts it back; no litter stays."""
    target = tmp_path / "model"
    target.mkdir()
    (target / "config.json").write_text("old")
    replace, calls = os.replace, []

    def dying(*args):
        calls.append(args)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*args)

    def write():
        atomic.os.replace = dying
        with atomic.atomic_folder(target) as work:
            (work / "config.json").write_text("new")
            if at == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    assert run_apart(write) == -signal.SIGKILL
    assert target.is_dir() == (at < 2)
    atomic.sweep(tmp_path)
    assert (target / "config.json").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_folder_between_two_renames_is_found(saved, tmp_path):
    model, processor, _ = saved
    folder = checkpoint.save(model, processor, tmp_path / "a", provenance={})
    os.replace(folder, tmp_path / ".a-old.tmp")
    again, its_processor = checkpoint.load(folder)
    assert torch.equal(logits(again, its_processor), logits(model, processor))


class _Canary:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "ran")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "last.ckpt", "model.pkl"])
@pytest.mark.parametrize("loader", [checkpoint.load, UniFusionForConditionalGeneration.from_pretrained])
def test_pickles_are_refused_with_the_remedy(copy, name, loader, tmp_path):
    (copy / "model.safetensors").unlink()
    (copy / name).write_bytes(pickle.dumps({"weight": _Canary(tmp_path / "canary")}))
    with pytest.raises(CheckpointError, match=rf"only {name}, a pickle.*convert it with safetensors"):
        loader(copy)
    assert not (tmp_path / "canary").exists()


def test_pickled_lora_beside_good_weights_is_refused(copy, tmp_path):
    (copy / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}))
    (copy / "adapter_model.bin").write_bytes(pickle.dumps({"weight": _Canary(tmp_path / "canary")}))
    with pytest.raises(CheckpointError, match=r"adapter_model\.bin, a pickle"):
        checkpoint.load(copy)
    assert not (tmp_path / "canary").exists()


HOSTILE = {
    "auto_map": ("config.json", {"auto_map": {"AutoConfig": "evil.Config"}}),
    "nested auto_map": ("config.json", {"text_config": {"model_type": "llama", "auto_map": {"AutoModelForCausalLM": "evil.Model"}}}),
    "nested trust": ("config.json", {"text_config": {"model_type": "llama", "inner": [{"trust_remote_code": True}]}}),
    "kernel": ("config.json", {"text_config": {"model_type": "llama", "attn_implementation": "evil/kernel"}}),
    "tokenizer": ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}),
    "processor": ("processor_config.json", {"auto_map": {"AutoProcessor": "evil.Processor"}}),
    "generation": ("generation_config.json", {"custom_generate": "evil/generate"}),
    "dotted encoder": ("config.json", {"streams": {"video": {"encoder": "evil:Encoder", "adapter": "linear"}}}),
    "dotted adapter": ("config.json", {"streams": {"video": {"encoder": "videomae", "adapter": "evil.adapter:A"}}}),
    "dotted in processor": ("processor_config.json", {"streams": {"video": {"encoder": "evil:Encoder", "adapter": "linear"}}}),
    "streams as list": ("config.json", {"streams": ["video"]}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_code_named_by_a_checkpoint_is_refused(copy, tmp_path, monkeypatch, case):
    """`evil` is importable and in the folder: nothing imports it, through our door or Hugging Face's."""
    from transformers import AutoModelForMultimodalLM

    file, changes = HOSTILE[case]
    code = f"import pathlib; pathlib.Path({str(tmp_path / 'canary')!r}).write_text('ran')"
    (tmp_path / "evil.py").write_text(code)
    (copy / "evil.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    edit(copy / file, **changes)
    with pytest.raises(CheckpointError):
        checkpoint.load(copy)
    if file == "config.json":
        with pytest.raises((CheckpointError, ValueError)):
            AutoModelForMultimodalLM.from_pretrained(copy, trust_remote_code=False)
    assert not (tmp_path / "canary").exists() and "evil" not in sys.modules


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "{"), ("config.json", "[1]"), ("config.json", '{"model_type": "unifusion", "text_config": 7}'),
        ("config.json", '{"model_type": "nope"}'),
        ("config.json", "[" * 100_000), ("model.safetensors", "short"), ("tokenizer.json", "{}"), ("processor_config.json", "no"),
    ],
)  # fmt: skip
def test_broken_files_are_a_typed_error(copy, file, content):
    (copy / file).write_text(content)
    with pytest.raises(CheckpointError, match=r"copy|unifusion saved"):
        checkpoint.load(copy)


def test_truncated_weights_are_a_typed_error(copy):
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"cannot be loaded"):
        checkpoint.load(copy)


def test_unknown_stems_say_what_there_is(copy):
    raw = json.loads((copy / "config.json").read_text())
    raw["streams"]["video"]["encoder"] = "videomaee"
    edit(copy / "config.json", streams=raw["streams"])
    with pytest.raises(UniFusionError, match="did you mean 'videomae'"):
        checkpoint.load(copy)


def test_a_part_without_a_source_cannot_be_absent(copy):
    for part in ("encoders.video", "encoders.nose", "language_model"):
        edit(copy / "config.json", absent=[part])
        with pytest.raises(CheckpointError, match=f"{part!r} is stored elsewhere"):
            checkpoint.load(copy)


def test_names_of_folders_that_are_none():
    with pytest.raises(CheckpointError, match="no checkpoint folder 'nowhere/at-all'"):
        checkpoint.load("nowhere/at-all")
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        checkpoint.load(Path(__file__).parent)
