"""Packs through the training loop: the same weights come out as from padded batches of the same conversations."""

import pytest
import torch

from tests.toys import chat_model, mixed
from unifusion.models.build import set_trainable
from unifusion.models.segments import packed_attention
from unifusion.processor.packing import collate_packed, pack
from unifusion.training.fit import FitChoices, fit


def trained(out, packed, workers=0):
    model, processor = chat_model(llm={"model_type": "mistral", "sliding_window": 24, "hidden_size": 32, "intermediate_size": 64,
                                       "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2})  # fmt: skip
    set_trainable(model, {"encoders": False})
    rows = [processor.row(c) for c in mixed("word ")]
    packs = [[rows[i] for i in p] for p in pack([len(r.ids) for r in rows], 300)]
    assert 1 < len(packs) < len(rows)

    def collate(batch):
        together = [row for p in batch for row in p]
        return collate_packed(processor, together) if packed else processor.collate(together)

    choices = FitChoices(steps=3, batch_size=2, warmup=0.0, save_every=100, workers=workers, precision="float32", learning_rate=1e-3)
    with packed_attention(model.language_model) as way:
        assert way == "segments"
        result = fit(model, packs, choices, out, collate=collate)
    return result["loss"], {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("workers", [0, 1])
def test_packed_training_is_padded_training(tmp_path, workers):
    loss, weights = trained(tmp_path / "packed", True, workers)
    expected, wanted = trained(tmp_path / "padded", False)
    assert loss == pytest.approx(expected, abs=1e-4)
    for name, weight in wanted.items():
        torch.testing.assert_close(weights[name], weight, atol=1e-3, rtol=1e-3)  # Adam's first steps are the sign of a gradient
