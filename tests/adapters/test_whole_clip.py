"""linear, mlp, qformer, perceiver: what they compute, time, and BLIP-2's weights by either name."""

import pytest
import torch
from torch import nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel, InstructBlipQFormerConfig, InstructBlipQFormerModel

from unifusion.adapters.linear import Linear
from unifusion.adapters.mlp import Mlp
from unifusion.adapters.perceiver import Perceiver
from unifusion.adapters.qformer import QFormer
from unifusion.batch import Features
from unifusion.errors import CheckpointError

IN, OUT = 10, 12


def features(n=6, seed=0):
    torch.manual_seed(seed)
    return Features(torch.randn(1, n, IN), torch.ones(1, n, dtype=torch.bool), torch.arange(n)[None] / 4)


def test_linear_without_norm_is_a_linear():
    adapter, given = Linear(IN, OUT, Linear.Config(norm=False)), features()
    torch.testing.assert_close(adapter(given).tokens_BSD, adapter.projection(given.tokens_BSD))


def test_mlp_without_norm_is_llavas_and_as_wide_as_the_language_model():
    adapter, given = Mlp(IN, OUT, Mlp.Config(norm=False)), features()
    llava = nn.Sequential(nn.Linear(IN, OUT), nn.GELU(), nn.Linear(OUT, OUT))
    llava.load_state_dict(adapter.projection.state_dict())
    torch.testing.assert_close(adapter(given).tokens_BSD, llava(given.tokens_BSD))


@pytest.mark.parametrize("cls", [Linear, Mlp])
def test_stride_averages_features_before_they_are_projected(cls):
    adapter, given = cls(IN, OUT, cls.Config(stride=4, norm=False)), features(6)
    means = torch.stack([given.tokens_BSD[0, :4].mean(dim=0), given.tokens_BSD[0, 4:].mean(dim=0)])
    out = adapter(given)
    torch.testing.assert_close(out.tokens_BSD[0], adapter.projection(means))
    assert out.times_BS[0].tolist() == [0.375, 1.125]


@pytest.mark.parametrize("cls", [QFormer, Perceiver])
def test_whole_clip_tokens_stand_at_its_centre(cls):
    config = cls.tiny()
    assert not cls.windowed
    times = cls.token_times(config, torch.tensor([4.0, 1.0, 9.0]), torch.tensor([True, True, False]))
    assert times.tolist() == [2.5, 2.5, 2.5]


@pytest.mark.parametrize("cls", [QFormer, Perceiver])
@pytest.mark.parametrize("with_time", [True, False])
def test_only_the_time_embedding_tells_the_order(cls, with_time):
    torch.manual_seed(0)
    config = cls.tiny()
    config.time_embedding = with_time
    adapter, given = cls(IN, OUT, config).eval(), features()
    with torch.no_grad():  # BERT's small initial weights attend almost evenly, which hides times and order alike
        for parameter in adapter.parameters():
            parameter.mul_(10 if cls is QFormer and parameter.ndim > 1 else 1)
    backwards = Features(given.tokens_BSD, given.mask_BS, given.times_BS.flip(1))
    difference = (adapter(given).tokens_BSD - adapter(backwards).tokens_BSD).abs().max()
    assert difference > 1e-4 if with_time else difference < 1e-5


def test_qformer_drops_out_in_training_only():
    torch.manual_seed(0)
    adapter, given = QFormer(IN, OUT, QFormer.Config(n_queries=3, width=16, n_layers=1, n_heads=2, dropout=0.5)), features()
    assert not torch.equal(adapter(given).tokens_BSD, adapter(given).tokens_BSD)
    adapter.eval()
    assert torch.equal(adapter(given).tokens_BSD, adapter(given).tokens_BSD)


@pytest.mark.parametrize(("frequency", "crossing"), [(1, 4), (2, 2)])
def test_cross_attention_frequency(frequency, crossing):
    config = QFormer.Config(n_queries=3, width=16, n_layers=4, n_heads=2, cross_attention_frequency=frequency)
    names = [n for n, _ in QFormer(IN, OUT, config).named_modules() if n.endswith("crossattention")]
    assert len(names) == crossing


class Blip2:
    """The parts of a small BLIP-2 that a checkpoint holds around and in its Q-Former, text half included."""

    def __init__(self):
        torch.manual_seed(7)
        self.config = QFormer.Config(n_queries=3, width=16, n_layers=2, n_heads=2, ff_width=32, dropout=0.0, time_embedding=False)
        self.qformer = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, encoder_hidden_size=IN,
                use_qformer_text_input=True,
            )
        ).eval()  # fmt: skip
        self.ln_vision, self.projection = nn.LayerNorm(IN), nn.Linear(16, OUT)
        nn.init.normal_(self.ln_vision.weight, 1.0)
        self.query_tokens = torch.randn(1, 3, 16)

    def tokens(self, vision):
        context = self.ln_vision(vision)
        out = self.qformer(query_embeds=self.query_tokens.expand(len(vision), -1, -1), encoder_hidden_states=context)
        return self.projection(out.last_hidden_state)

    def by_transformers(self):
        state = {f"qformer.{k}": v for k, v in self.qformer.state_dict().items()}
        state |= {f"language_projection.{k}": v for k, v in self.projection.state_dict().items()}
        state |= {f"vision_model.post_layernorm.{k}": v for k, v in self.ln_vision.state_dict().items()}
        return state | {"query_tokens": self.query_tokens, "vision_model.embeddings.class_embedding": torch.zeros(1, 1, 4)}

    def by_lavis(self):
        state = {}
        for k, v in self.qformer.state_dict().items():
            k = k.replace("attention.attention.", "attention.self.")
            k = k.replace("layernorm.", "embeddings.LayerNorm.") if k.startswith("layernorm.") else k
            state[f"Qformer.bert.{k}"] = v
        state |= {"Qformer.bert.embeddings.position_ids": torch.arange(4)[None], "Qformer.cls.predictions.bias": torch.zeros(5)}
        state |= {"Qformer.bert.embeddings.word_embeddings.weight": torch.zeros(5, 16)}
        state |= {f"opt_proj.{k}": v for k, v in self.projection.state_dict().items()}
        state |= {f"ln_vision.{k}": v for k, v in self.ln_vision.state_dict().items()}
        return state | {"query_tokens": self.query_tokens, "visual_encoder.cls_token": torch.zeros(1, 1, 4), "temp": torch.ones(())}


@pytest.fixture(scope="module")
def blip2():
    return Blip2()


@pytest.mark.parametrize(("names", "text_only", "elsewhere"), [("by_transformers", 12, 1), ("by_lavis", 15, 2)])
def test_blip2_weights_load_by_name_and_give_its_tokens(blip2, names, text_only, elsewhere):
    adapter, given = QFormer(IN, OUT, blip2.config).eval(), features()
    report = adapter.load_published(getattr(blip2, names)())
    assert sorted(report.matched) == sorted(adapter.state_dict()) and report.missing == report.unexpected == []
    assert (len(report.text_only), report.elsewhere) == (text_only, elsewhere)
    torch.testing.assert_close(adapter(given).tokens_BSD, blip2.tokens(given.tokens_BSD), atol=1e-5, rtol=1e-5)


def test_a_projection_to_another_language_model_is_reported_and_left_alone(blip2):
    adapter = QFormer(IN, 7, blip2.config)
    before = adapter.projection.weight.detach().clone()
    report = adapter.load_published(blip2.by_transformers())
    assert report.missing == ["projection.bias", "projection.weight"]
    assert sorted(report.unexpected) == ["language_projection.bias", "language_projection.weight"]
    assert torch.equal(before, adapter.projection.weight)


def test_an_unknown_weight_of_the_qformer_is_reported(blip2):
    report = QFormer(IN, OUT, blip2.config).load_published({**blip2.by_transformers(), "qformer.encoder.layer.9.gate": torch.zeros(1)})
    assert report.unexpected == ["qformer.encoder.layer.9.gate"]


@pytest.mark.parametrize("change", [{"width": 32}, {"n_layers": 3}, {"n_queries": 4}, {"cross_attention_frequency": 1}])
def test_another_shape_is_refused_and_nothing_is_loaded(blip2, change):
    config = QFormer.Config(**{**vars(blip2.config), **change})
    adapter = QFormer(IN, OUT, config)
    before = {k: v.clone() for k, v in adapter.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"weights of the Q-Former are not in the checkpoint.*BLIP-2: 768, 12, 32, 1408"):
        adapter.load_published(blip2.by_lavis())
    assert all(torch.equal(before[k], v) for k, v in adapter.state_dict().items())


def test_blip2s_published_size():
    """105.1 M weights at BLIP-2's defaults; counted on the meta device."""
    with torch.device("meta"):
        adapter = QFormer(1408, 2560, QFormer.Config())
    assert sum(p.numel() for p in adapter.qformer.parameters()) == pytest.approx(105.1e6, rel=1e-3)
    assert adapter.queries.weight.shape == (32, 768)


def test_perceivers_published_size():
    """Flamingo's resampler: 64 latents, 6 layers, 8 heads of 64."""
    with torch.device("meta"):
        adapter = Perceiver(1024, 4096, Perceiver.Config())
    assert adapter.resampler.latents.weight.shape == (64, 1024) and len(adapter.resampler.blocks) == 6
    assert adapter.resampler.blocks[0].cross.query.weight.shape == (512, 1024)


def test_instructblip_weights_load_by_name():
    torch.manual_seed(3)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "encoder_hidden_size": IN}
    theirs = InstructBlipQFormerModel(InstructBlipQFormerConfig(**shape, vocab_size=9, hidden_dropout_prob=0.0)).eval()
    config = QFormer.Config(n_queries=3, width=16, n_layers=2, n_heads=2, ff_width=32, time_embedding=False, norm=False)
    adapter, given, queries = QFormer(IN, 16, config).eval(), features(), torch.randn(1, 3, 16)
    state = {f"qformer.{k}": v for k, v in theirs.state_dict().items()} | {"query_tokens": queries}
    state |= {"language_projection.weight": torch.eye(16), "language_projection.bias": torch.zeros(16)}
    report = adapter.load_published(state)
    assert report.missing == report.unexpected == [] and report.text_only
    with torch.no_grad():
        wanted = theirs.encoder(theirs.embeddings(query_embeds=queries), encoder_hidden_states=given.tokens_BSD, query_length=3)
        torch.testing.assert_close(adapter(given).tokens_BSD, wanted.last_hidden_state, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("part", ["video", "audio"])
def test_video_llamas_qformers_over_time_load_by_name(part):
    """Its frame positions are added to the tokens of each frame, and every layer looks at them; the frame-level one is left alone."""
    torch.manual_seed(4)
    config = QFormer.Config(
        n_queries=3, width=16, n_layers=2, n_heads=2, ff_width=32, dropout=0.0, cross_attention_frequency=1, time_embedding=False,
        norm=False, frames=4,
    )  # fmt: skip
    made = QFormer(IN, OUT, config).eval()
    renamed = {"frames.weight": {"video": "video_frame_position_embedding.weight", "audio": "audio_position_embedding.weight"}[part]}
    renamed |= {f"projection.{k}": f"{'llama_proj' if part == 'video' else 'audio_llama_proj'}.{k}" for k in ("weight", "bias")}
    renamed["queries.weight"] = f"{part}_query_tokens"
    state = {"Qformer.bert.encoder.layer.0.attention.self.query.weight": torch.zeros(16, 16), "query_tokens": torch.zeros(1, 3, 16)}
    for name, tensor in made.state_dict().items():
        theirs = name.replace("qformer.layernorm.", "qformer.embeddings.LayerNorm.").replace("attention.attention.", "attention.self.")
        theirs = renamed.get(name) or theirs.replace("qformer.", f"{part}_Qformer.bert.")
        state[theirs] = tensor[None] if name == "queries.weight" else tensor
    torch.manual_seed(5)
    adapter, given = QFormer(IN, OUT, config).eval(), features()
    assert not torch.equal(adapter(given).tokens_BSD, made(given).tokens_BSD)
    report = adapter.load_published({f"module.{k}": v for k, v in state.items()}, part=part)
    assert report.missing == report.unexpected == report.text_only == [] and report.elsewhere == 2
    assert torch.equal(adapter(given).tokens_BSD, made(given).tokens_BSD)
    times = torch.tensor([[0.0, 0.0, 0.5, 1.0, 1.5, 2.0]])
    six = Features(torch.zeros(1, 6, IN), torch.ones(1, 6, dtype=torch.bool), times)
    seen = []
    adapter.qformer.register_forward_pre_hook(lambda m, a, k: seen.append(k["encoder_hidden_states"]), with_kwargs=True)
    adapter(six)
    assert torch.equal(seen[0][0], adapter.frames.weight[torch.tensor([0, 0, 1, 2, 3, 3])])
