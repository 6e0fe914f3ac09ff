"""Opening a folder is safe and strict, and says what is supported."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.existing import MODELS
from tests.toys import video
from unifusion.engine import Engine
from unifusion.errors import CheckpointError, ConfigError
from unifusion.models.existing import loading, supported


@pytest.fixture
def copy(folders, tmp_path):
    """A copy of one model's folder, which a test may spoil."""

    def make(name):
        return shutil.copytree(folders(name), tmp_path / name)

    return make


def edit(path, **changes):
    raw = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**raw, **changes}))


def test_what_is_supported_is_written_down(folders):
    page = (Path(__file__).parents[3] / "docs" / "existing_models.md").read_text(encoding="utf-8")
    assert {f"`{kind}`" for kind in supported()} <= set(re.findall(r"`\w+`", page))
    tried = {json.loads((folders(name) / "config.json").read_text())["model_type"] for name in MODELS}
    assert {kind.removesuffix("_thinker") for kind in supported()} == tried


@pytest.mark.parametrize("kind", ["whisper", "qwen2", None])
def test_another_kind_is_refused_with_the_list(copy, kind):
    folder = copy("qwen2_audio")
    edit(folder / "config.json", model_type=kind)
    with pytest.raises(CheckpointError, match=rf"describes a '{kind}' model.*llava_onevision.*qwen2_5_omni"):
        Engine.from_pretrained(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "preprocessor_config.json", "video_preprocessor_config.json"])
def test_a_folder_that_names_code_is_refused(copy, file):
    folder = copy("llava_onevision")
    edit(folder / file, auto_map={"AutoModel": "evil.Model"})
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(CheckpointError, match="names code to run"):
        Engine.from_pretrained(folder)


def test_pickled_weights_are_refused(copy):
    folder = copy("qwen2_audio")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="a pickle"):
        Engine.from_pretrained(folder)


def test_speakers_are_never_unpickled(copy):
    """The published Qwen2.5-Omni folder has a pickle for speaking, which the whole model's class reads."""
    folder = copy("qwen2_5_omni")
    (folder / "spk_dict.pt").write_bytes(b"not even a pickle")
    assert Engine.from_pretrained(folder).session().ask("hi", max_new_tokens=1).ids is not None


def test_an_adapter_is_refused(copy):
    folder = copy("qwen2_audio")
    edit(folder / "adapter_config.json", base_model_name_or_path="somebody/else", peft_type="LORA")
    save_file({"x": torch.zeros(1)}, folder / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="an adapter of peft"):
        Engine.from_pretrained(folder)


def test_missing_and_unknown_weights_are_listed(copy):
    folder = copy("video_llama_3")
    weights = load_file(folder / "model.safetensors")
    lost = next(k for k in weights if "layers.1" in k)
    weights = {**weights, "nose.weight": torch.ones(2)}
    save_file({k: v for k, v in weights.items() if k != lost}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing: .*layers\.1.*unknown: nose\.weight"):
        Engine.from_pretrained(folder)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "no chat template"),
        ("{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}<|im_end|>{% endfor %}", "has not one '<image>'"),
        (
            "{% for m in messages %}{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}<|im_end|>{% endif %}{% endfor %}"
            "{% for p in m.content %}{% if p.type != 'text' %}<{{ p.type }}>{% endif %}{% endfor %}{% endfor %}",
            "has not one",
        ),
    ],
)
def test_a_template_that_shows_no_clips_is_refused_before_they_are_asked_about(copy, template, message):
    folder = copy("llava_onevision")
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    edit(folder / "tokenizer_config.json", chat_template=template)
    with pytest.raises(CheckpointError, match=message):
        Engine.from_pretrained(folder).answer([])


def test_a_processor_that_does_not_fit_its_config_is_refused(copy):
    folder = copy("llava_onevision")
    edit(folder / "processor_config.json", num_image_tokens=9)
    with pytest.raises(CheckpointError, match="counts 9 tokens a tile"):
        Engine.from_pretrained(folder)
    folder = copy("video_llama_3")
    edit(folder / "video_preprocessor_config.json", merge_size=1)
    engine = Engine.from_pretrained(folder)
    engine.processor.family.patching = type(engine.processor.family.patching)(**{**vars(engine.processor.family.patching), "patch": 7})
    with pytest.raises((ConfigError, RuntimeError)):
        engine.open(video(seed=1))


def test_a_name_on_the_hub_is_fetched_and_nothing_else(folders, monkeypatch):
    import huggingface_hub

    asked = []

    def fetch(name, **options):
        asked.append((name, options))
        return str(folders("qwen2_audio"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert Engine.from_pretrained("Qwen/Qwen2-Audio-7B-Instruct").session().ask("hi", max_new_tokens=1).report.streams == {}
    ((name, options),) = asked
    assert name == "Qwen/Qwen2-Audio-7B-Instruct" and set(options["allow_patterns"]) == set(loading._PATTERNS)
    assert not any(pattern.endswith((".bin", ".pt", ".py")) for pattern in options["allow_patterns"])


def test_a_hub_that_cannot_be_asked_is_an_error(monkeypatch):
    import huggingface_hub

    def fetch(name, **options):
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    with pytest.raises(CheckpointError, match=r"no checkpoint folder 'nobody/nothing', and the hub does not give it \(no route to host\)"):
        Engine.from_pretrained("nobody/nothing")
    for name in ("nothing", "checkpoints/nothing", "/nobody/nothing/at-all"):
        with pytest.raises(CheckpointError, match=r"no checkpoint folder '\S+';"):
            Engine.from_pretrained(name)


def test_torchvision_changes_nothing():
    """Nothing here asks for the classes whose kind depends on whether torchvision is there."""
    dependent = r"AutoProcessor|AutoImageProcessor|\w+VideoProcessor|import torchvision|ImageProcessor(?!Pil)\b"
    modules = list(Path(loading.__file__).parent.glob("*.py"))
    assert len(modules) > 8
    for module in modules:
        code = module.read_text(encoding="utf-8")
        assert not re.search(dependent, code), module.name


@pytest.mark.parametrize("name", sorted(MODELS))
def test_settings_are_read_in_both_forms(copy, folders, name):
    """The files of transformers 5 nest what the old ones keep apart."""
    from unifusion.models.existing.settings import KINDS, read_settings

    folder = copy(name)
    old = read_settings(folder)
    for file in ("preprocessor_config.json", "video_preprocessor_config.json"):
        (folder / file).unlink(missing_ok=True)
    edit(folder / "processor_config.json", **{kind: old[kind] for kind in KINDS if old[kind]})
    assert read_settings(folder) == {**old, **{k: old[k] for k in KINDS}}
    first, again = Engine.from_pretrained(folders(name)), Engine.from_pretrained(folder)
    opened = [e.processor.open(video(seed=1)) for e in (first, again)]
    for stream, item in opened[0].streams.items():
        for key, value in item.tensors.items():
            assert torch.equal(value, opened[1].streams[stream].tensors[key])


def test_bf16_is_taken_as_it_is(folders):
    model, processor = loading.load_existing(folders("qwen2_5_omni"), dtype=torch.bfloat16)
    engine = Engine(model, processor)
    session = engine.session()
    session.add(video(seed=1))
    assert session.ask("what?", max_new_tokens=3).report.streams["audio"].present


def test_qwen2_audio_without_a_template_takes_its_processors(copy, folders):
    folder = copy("qwen2_audio")
    (folder / "chat_template.jinja").unlink()
    again, first = Engine.from_pretrained(folder), Engine.from_pretrained(folders("qwen2_audio"))
    assert again.processor.format == first.processor.format
    assert again.processor.template.wrap("audio", 3) == first.processor.template.wrap("audio", 3)


def test_a_template_that_takes_parts_from_users_only(copy):
    folder = copy("video_llama_3")
    template = (folder / "chat_template.jinja").read_text()
    content = "{% if message['role'] == 'assistant' %}{{ message['content'] if message['content'] is string }}{% else %}"
    content += "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    strict = template.replace("{% for content in message['content'] %}", content + "{% for content in message['content'] %}")
    strict = strict.replace("{% endfor %}<|im_end|>", "{% endfor %}{% endif %}{% endif %}<|im_end|>")
    before = Engine.from_pretrained(folder).processor.format
    (folder / "chat_template.jinja").write_text(strict)
    assert Engine.from_pretrained(folder).processor.format == before
