"""Built on the meta device and missing from the file, as from_pretrained does it: nothing may come up as garbage."""

import pytest
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.whisper.modeling_whisper import sinusoids

from unifusion import catalog
from unifusion.adapters.adapter import Adapter


class ToyConfig(PreTrainedConfig):
    model_type = "toy-parts"


class Toy(PreTrainedModel):
    """Every encoder and every adapter under one PreTrainedModel that initialises nothing by itself."""

    config_class = ToyConfig

    def __init__(self, config):
        super().__init__(config)
        load = catalog.load
        names = catalog.names("encoders")
        self.kept = nn.Linear(2, 2)
        self.encoders = nn.ModuleDict({n: load("encoders", n).build(load("encoders", n).tiny(), load_weights=False) for n in names})
        single = [n for n in catalog.names("adapters") if issubclass(load("adapters", n), Adapter)]
        self.adapters = nn.ModuleDict({n: load("adapters", n)(16, 12, load("adapters", n).tiny()) for n in single})
        fused = [n for n in catalog.names("adapters") if n not in single]
        self.fused = nn.ModuleDict({n: load("adapters", n)({"a": 16, "b": 8}, 12, load("adapters", n).tiny()) for n in fused})
        self.post_init()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    torch.manual_seed(0)
    whole = Toy(ToyConfig())
    whole.save_pretrained(folder, state_dict={"kept.weight": whole.kept.weight, "kept.bias": whole.kept.bias})
    loaded, info = Toy.from_pretrained(folder, output_loading_info=True)
    assert len(info["missing_keys"]) > 50
    return whole, loaded


def test_missing_weights_are_initialised(models):
    whole, loaded = models
    assert torch.equal(whole.kept.weight, loaded.kept.weight)
    fresh = dict(loaded.named_parameters())
    for name, built in whole.named_parameters():
        found = fresh[name]
        assert found.device.type == "cpu" and torch.isfinite(found).all(), name
        assert found.abs().max() <= 4 * built.abs().max() + 0.1, f"{name}: {found.abs().max()} against {built.abs().max()}"
        assert (found.std() > 1e-5) == (built.std() > 1e-5) or found.numel() == 1, name


def test_whispers_fixed_positions_are_there(models):
    for model in models:
        torch.testing.assert_close(model.encoders["whisper"].backbone.embed_positions.weight, sinusoids(25, 16))


def test_videomaes_position_table_is_on_a_real_device(models):
    whole, loaded = models
    tables = [m.encoders["videomae"].backbone.embeddings.position_embeddings for m in (whole, loaded)]
    assert torch.equal(*tables)
