"""A checkpoint taken apart: its stages put together again are the model, and one stream's encoder can be changed."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from tests.toys import chat_model, talk, video
from unifusion import checkpoint
from unifusion.errors import ConfigError
from unifusion.processor import StreamSpec
from unifusion.training.chat import aligned_specs, assemble
from unifusion.training.unpack import unpack


def logits(model, processor, **options):
    with torch.no_grad():
        return model(**processor([talk([video(seed=1, **options)], "what?")])).logits


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    model, processor = chat_model(max_seconds=12.0)
    folder = tmp_path_factory.mktemp("unpack")
    checkpoint.save(model, processor, folder / "checkpoint", provenance={}, dtype=torch.float32)
    unpack(folder / "checkpoint", folder / "run")
    return model, processor, folder / "run"


def test_the_parts_together_are_the_model(apart):
    model, processor, run = apart
    again, its = assemble(run / "language", aligned_specs(run / "ground"), run / "ground", run / "adapt")
    assert torch.equal(logits(again.eval(), its), logits(model.eval(), processor))


def test_another_encoder_starts_its_own_adapter_and_leaves_the_rest(apart, tmp_path):
    model, processor, run = apart
    shutil.copytree(run, tmp_path / "run")
    audio = tmp_path / "run" / "ground" / "audio"
    old = aligned_specs(tmp_path / "run" / "ground")["audio"]
    spec = StreamSpec.from_dict({**old.to_dict(), "adapter_config": {**old.to_dict()["adapter_config"], "n_queries": 3}})
    torch.manual_seed(5)
    encoder = spec.encoder_class.build(spec.encoder_choices, load_weights=False)
    adapter = spec.adapter_class(encoder.width, 24, spec.adapter_choices)
    save_file(encoder.state_dict(), audio / "encoder.safetensors")
    save_file(adapter.state_dict(), audio / "adapter.safetensors")
    (audio / "spec.json").write_text(json.dumps(spec.to_dict()))
    where = (tmp_path / "run" / "language", aligned_specs(tmp_path / "run" / "ground"), tmp_path / "run" / "ground", run / "adapt")
    with pytest.raises(ConfigError, match="--fresh audio"):
        assemble(*where)
    changed, its = assemble(*where, fresh=["audio"])
    queries = dict(adapter.named_parameters())
    for name, parameter in changed.adapters["audio"].named_parameters():
        assert name.startswith("projection.") or torch.equal(parameter, queries[name])
    assert torch.equal(logits(changed.eval(), its, sound=False), logits(model.eval(), processor, sound=False))
