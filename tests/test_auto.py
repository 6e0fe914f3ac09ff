"""Hugging Face's doors: Auto classes, pipeline, and an import that costs nothing."""

import subprocess
import sys

import pytest
import torch

from tests.toys import chat_model, clip, talk, video
from unifusion import _auto, checkpoint


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model, processor = chat_model(seed=1)
    return model, processor, checkpoint.save(model, processor, tmp_path_factory.mktemp("auto") / "toy", provenance={})


def test_import_is_light():
    code = "import sys, unifusion; dir(unifusion); print(sorted({'torch', 'transformers', 'numpy', 'PIL', 'av'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_any_class_of_transformers_can_be_imported_after_unifusion():
    """`PreTrainedModel` imports `AutoConfig` half-way; registering at that moment would import it a second time."""
    code = (
        "import unifusion; from transformers import PreTrainedModel, AutoConfig; import inspect;"
        "assert type(AutoConfig.for_model('unifusion')).__name__ == 'UniFusionConfig';"
        "assert 'class PreTrainedModel' in inspect.getsource(PreTrainedModel)"
    )
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_installing_twice_adds_no_second_watcher():
    before = list(sys.meta_path)
    _auto.install()
    assert sys.meta_path == before and sum(isinstance(f, _auto._Finder) for f in before) == 1


def test_public_names_resolve_and_unknown_ones_do_not():
    import unifusion

    for name in unifusion.__all__:
        assert getattr(unifusion, name) is not None
    with pytest.raises(AttributeError, match="'Enigne'"):
        _ = unifusion.Enigne


def test_auto_classes_round_trip(saved, tmp_path):
    from transformers import AutoConfig, AutoModel, AutoModelForMultimodalLM, AutoProcessor

    model, processor, folder = saved
    config = AutoConfig.from_pretrained(folder)
    assert (
        type(config).__name__ == "UniFusionConfig" and config.text_config.model_type == "llama" and list(config.specs) == ["video", "audio"]
    )
    its_processor = AutoProcessor.from_pretrained(folder)
    conversation = talk([video(seed=1)], "what?")
    batch = its_processor([conversation], generate=True)
    assert batch["input_ids"].tolist() == processor([conversation], generate=True)["input_ids"].tolist()
    for auto in (AutoModelForMultimodalLM, AutoModel):
        again = auto.from_pretrained(folder).eval()
        with torch.no_grad():
            assert torch.equal(again(**batch).logits, model(**batch).logits)
    again.save_pretrained(tmp_path / "hf")
    its_processor.save_pretrained(tmp_path / "hf")
    third, _ = checkpoint.load(tmp_path / "hf")
    assert all(torch.equal(a, b) for a, b in zip(third.state_dict().values(), model.state_dict().values(), strict=True))


def test_a_model_can_be_made_from_its_config(saved):
    from transformers import AutoModelForMultimodalLM

    fresh = AutoModelForMultimodalLM.from_config(saved[0].config)
    assert sum(p.numel() for p in fresh.parameters()) == sum(p.numel() for p in saved[0].parameters())


def test_pipeline_over_text_and_sound(saved, tmp_path, monkeypatch):
    """transformers 5.23 asks for torchvision before it builds an any-to-any pipeline with pictures, though nothing of it is used here."""
    import soundfile
    from transformers import pipeline
    from transformers.pipelines import any_to_any

    model, processor, folder = saved
    monkeypatch.setattr(any_to_any, "requires_backends", lambda *_: None)
    soundfile.write(tmp_path / "a.wav", clip(seed=1).waveform_N, 16_000, subtype="FLOAT")
    pipe = pipeline("any-to-any", model=str(folder))
    for content in ([{"type": "text", "text": "hi"}], [{"type": "audio", "path": str(tmp_path / "a.wav")}, {"type": "text", "text": "hi"}]):
        messages = [{"role": "user", "content": content}]
        out = pipe(text=messages, max_new_tokens=6, generate_kwargs={"do_sample": False})
        batch = processor.apply_chat_template(messages, add_generation_prompt=True)
        ids = model.generate(**batch, max_new_tokens=6, do_sample=False)[0, batch["input_ids"].shape[1] :]
        said = out[0]["generated_text"][-1]
        assert said["role"] == "assistant" and said["content"] == processor.tokenizer.decode(ids, skip_special_tokens=True)
