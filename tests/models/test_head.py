"""The loss of the head: equal to that of full logits with every gradient, whatever the head is, in a tenth of the memory."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.models.families import FAMILIES, SCALED
from tests.toys import chat_model, mixed
from unifusion.models import head as head_module
from unifusion.models.head import head_loss
from unifusion.models.lora import add_lora


def given(rows=37, width=16, words=300, bias=True, seed=0):
    torch.manual_seed(seed)
    head = nn.Linear(width, words, bias=bias)
    return head, torch.randn(rows, width, requires_grad=True), torch.randint(0, words, (rows,))


def gradients(loss, hidden, head):
    wanted = [hidden, *(p for p in head.parameters() if p.requires_grad)]
    return torch.autograd.grad(loss * 0.25, wanted, allow_unused=True)


def full(head, hidden, targets):
    return cross_entropy(head(hidden).float(), targets, reduction="sum")


@pytest.mark.parametrize("elements", [1, 900, 5_000, 1 << 20])
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_loss_and_gradients_are_those_of_full_logits(elements, trained, bias):
    head, hidden, targets = given(bias=bias)
    head.requires_grad_(trained)
    loss, expected = head_loss(head, hidden, targets, elements=elements), full(head, hidden, targets)
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-6)
    for found, wanted in zip(gradients(loss, hidden, head), gradients(expected, hidden, head), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)


def test_a_sure_and_wrong_head_has_a_finite_loss():
    head, hidden, targets = given()
    hidden = (hidden.detach() * 1e4).requires_grad_()
    loss = head_loss(head, hidden, targets, elements=900)
    assert bool(torch.isfinite(loss)) and float(loss) > 1e4
    torch.testing.assert_close(loss, full(head, hidden, targets), rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("kind", ["lora", "hook", "scaled"])
def test_any_other_head_is_called_in_pieces(kind):
    head, hidden, targets = given()
    seen = []
    if kind == "lora":
        from peft import LoraConfig
        from peft.tuners.lora import Linear

        head = Linear(head, "default", LoraConfig(r=2, lora_alpha=4, init_lora_weights=False), r=2, lora_alpha=4, init_lora_weights=False)
    elif kind == "scaled":

        class Scaled(nn.Linear):
            def forward(self, hidden):
                return torch.tanh(super().forward(hidden)) * 3

        scaled = Scaled(16, 300)
        scaled.load_state_dict(head.state_dict())
        head = scaled
    head.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    loss = head_loss(head, hidden, targets, elements=3_000)
    assert max(seen) == 10 and sum(seen) == 37
    expected = full(head, hidden, targets)
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-6)
    for found, wanted in zip(gradients(loss, hidden, head), gradients(expected, hidden, head), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)


def test_autocast_gives_what_autocast_gives():
    head, hidden, targets = given()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, expected = head_loss(head, hidden, targets, elements=900), full(head, hidden, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=0.5)
    for found, wanted in zip(gradients(loss, hidden, head), gradients(expected, hidden, head), strict=True):
        assert found.dtype == wanted.dtype == torch.float32
        torch.testing.assert_close(found, wanted, atol=2e-2, rtol=5e-2)


def test_float16_takes_the_way_that_scales_before_it_differentiates(monkeypatch):
    head, hidden, targets = given()
    monkeypatch.setattr(head_module._PlainHead, "apply", lambda *a: pytest.fail("unscaled gradients in float16"))
    with torch.autocast("cpu", dtype=torch.float16):
        loss = head_loss(head, hidden, targets, elements=900)
    torch.testing.assert_close(loss, full(head, hidden, targets), rtol=1e-2, atol=0.5)


def test_weights_that_are_shards_are_gathered_once_whatever_the_rows(monkeypatch):
    """ZeRO-3 marks its parameters by `ds_id` and gathers them from all ranks at each call: calls that differ in number would hang."""
    for rows in (0, 3, 37):
        head, hidden, targets = given(rows=rows)
        head.weight.ds_id = 7
        monkeypatch.setattr(head_module._PlainHead, "apply", lambda *a: pytest.fail("weight of a shard was used"))
        seen = []
        head.register_forward_hook(lambda _m, args, _o, seen=seen: seen.append(len(args[0])))
        loss = head_loss(head, hidden, targets, elements=900)
        loss.backward()
        assert seen == [rows]
        torch.testing.assert_close(loss, full(head, hidden, targets), atol=1e-4, rtol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("llm", ["llama", "phi", *SCALED])
def test_a_model_has_the_gradients_of_full_logits_tied_or_not(llm, tied):
    model, processor = chat_model(llm={**FAMILIES, **SCALED}[llm] | {"tie_word_embeddings": tied})
    batch = processor(mixed("word ")[:3])
    loss = model(**batch).loss
    logits = model(**{k: v for k, v in batch.items() if k != "labels"}).logits
    expected = cross_entropy(logits[:, :-1].float().transpose(1, 2), batch["labels"][:, 1:])
    parameters = [p for p in model.parameters() if p.requires_grad]
    pairs = (torch.autograd.grad(x, parameters, allow_unused=True) for x in (loss, expected))
    for found, wanted in zip(*pairs, strict=True):
        if wanted is not None:
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_nothing_is_kept_for_a_gradient_that_nobody_wants():
    head, hidden, targets = given()
    with torch.no_grad():
        loss = head_loss(head, hidden, targets, elements=900)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, full(head, hidden, targets).detach(), atol=1e-4, rtol=1e-6)


def test_memory_is_that_of_a_piece():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else (out,):
                if isinstance(tensor, torch.Tensor):
                    self.numel = max(self.numel, tensor.numel())
            return out

    head, hidden, targets = given(rows=400, words=2_000)
    head.requires_grad_(False)
    with Largest() as seen:
        head_loss(head, hidden, targets, elements=40_000).backward()
    assert seen.numel <= 40_000 < hidden.shape[0] * 2_000 / 10


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_some_of_whose_rows_are_trained_goes_in_pieces_too(tied, monkeypatch):
    model, processor = chat_model(llm=FAMILIES["llama"] | {"tie_word_embeddings": tied})
    add_lora(model, {"language_model": {"rank": 2}})
    assert model.config.new_tokens and type(model.get_output_embeddings()) is not nn.Linear
    batch = processor(mixed("word ")[:3])
    trained = [p for p in model.parameters() if p.requires_grad]
    whole = model(**batch)
    wanted = torch.autograd.grad(whole.loss, trained, allow_unused=True)
    monkeypatch.setitem(head_module._ELEMENTS, "cpu", 4 * model.config.text_config.vocab_size)
    seen = []
    model.get_output_embeddings().register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    found = torch.autograd.grad(model(**batch).loss, trained, allow_unused=True)
    assert max(seen) == 4 < int(whole.n_targets)
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
