"""What is frozen stays as it was; what is trained gets a gradient whether or not its stream is there; both are said."""

import pytest
import torch

from tests.toys import chat_model, talk, video
from unifusion.encoders.encoder import weights_hash
from unifusion.errors import ConfigError
from unifusion.models.build import describe_trainable, set_trainable

ADAPTERS = ["linear", "mlp", "qformer", "windowed_qformer", "perceiver"]


def train(model, batches, steps=3):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        model(**batches[step % len(batches)]).loss.backward()
        optimizer.step()


def test_frozen_parts_stay_in_eval_mode_and_unchanged():
    model, processor = chat_model()
    set_trainable(model, {"language_model": False, "encoders": False, "adapters": True})
    before = {n: weights_hash(m) for n, m in [("llm", model.language_model), *model.encoders.items()]}
    adapters = {n: weights_hash(m) for n, m in model.adapters.items()}
    model.train()
    for part in (model.language_model, *model.encoders.values()):
        assert not any(m.training for m in part.modules())
    assert all(m.training for a in model.adapters.values() for m in a.modules())
    train(model, [processor([talk([video(seed=i)], "what?", "this")]) for i in range(2)])
    assert {n: weights_hash(m) for n, m in [("llm", model.language_model), *model.encoders.items()]} == before
    assert all(weights_hash(m) != adapters[n] for n, m in model.adapters.items())
    model.eval()
    assert not any(m.training for m in model.modules())


def test_set_trainable_takes_the_longest_name():
    model, _ = chat_model()
    set_trainable(
        model, {"language_model": False, "encoders": False, "adapters": False, "adapters.audio": True, "language_model.model.norm": True}
    )
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {n for n, _ in model.named_parameters() if n.startswith(("adapters.audio.", "language_model.model.norm."))}
    with pytest.raises(ConfigError, match="no part 'adapter'"):
        set_trainable(model, {"adapter": True})


def test_the_printed_table_is_the_truth():
    model, _ = chat_model()
    set_trainable(model, {"language_model": False, "encoders": False, "encoders.audio": True, "adapters": True})
    rows = {line.split()[0]: line.split()[1:] for line in describe_trainable(model).splitlines()[1:]}
    assert list(rows) == ["language_model", "encoders.video", "encoders.audio", "adapters.video", "adapters.audio"]
    for name, (total, trained, word) in rows.items():
        parameters = list(model.get_submodule(name).parameters())
        assert int(total.replace(",", "")) == sum(p.numel() for p in parameters)
        assert int(trained.replace(",", "")) == sum(p.numel() for p in parameters if p.requires_grad)
        assert word == ("trained" if any(p.requires_grad for p in parameters) else "frozen")


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("shown", ["both", "no sound", "text only"])
def test_every_trained_parameter_gets_a_gradient(adapter, shown):
    """A parameter without one hangs data-parallel training, or leaves the ranks apart."""
    model, processor = chat_model(adapter)
    set_trainable(model, {"language_model": False, "encoders": False, "encoders.audio": True, "adapters": True})
    model.train()
    media = {"both": [video(seed=1)], "no sound": [video(seed=1, sound=False)], "text only": []}[shown]
    model(**processor([talk(media, "what?", "this")])).loss.backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    absent = {"both": [], "no sound": ["audio"], "text only": ["audio", "video"]}[shown]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name.split(".")[1] in absent:
            assert not parameter.grad.any(), "an absent stream teaches nothing"
    assert not any(p.grad is not None for p in model.encoders["video"].parameters())


def test_an_absent_stream_changes_no_embedding():
    model, processor = chat_model()
    batch = processor([talk([], "what?", "this")])
    plain = float(model.eval()(**batch).loss)
    assert float(model.train()(**batch).loss) == plain


def test_stored_features_need_no_encoder(monkeypatch):
    from unifusion.engine import Engine

    engine = Engine(*chat_model())
    row = engine.processor.row(talk([video(seed=1)], "hi"))
    wanted = engine.model(**engine.processor.collate([row])).logits
    row.media[0] = engine.encode(row.media[0])
    assert not row.media[0].streams["video"].tensors
    for encoder in engine.model.encoders.values():
        monkeypatch.setattr(encoder, "forward", None)
    assert torch.allclose(engine.model(**engine.processor.collate([row])).logits, wanted, atol=1e-4)
