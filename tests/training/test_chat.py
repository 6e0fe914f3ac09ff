"""What is done to adapters' tokens while a chat model is trained."""

import torch

from tests.toys import chat_model, talk, video
from unifusion.training.chat import _drop


def test_tokens_are_dropped_in_training_alone():
    model, processor = chat_model()
    batch = processor([talk([video()], "hi", "there")])
    model.eval()
    plain = model.embed(batch["input_ids"], batch["media"])
    _drop(model, 0.25)
    torch.testing.assert_close(model.embed(batch["input_ids"], batch["media"]), plain)
    place = torch.isin(batch["input_ids"], torch.tensor(list(processor.placeholder_ids.values())))
    model.train()
    shown = model.embed(batch["input_ids"], batch["media"])
    assert torch.equal(shown[~place], plain[~place])
    zero = shown[place] == 0
    assert 0.15 < zero.float().mean() < 0.35
    torch.testing.assert_close(shown[place][~zero], plain[place][~zero] / 0.75)
