"""Any causal language model, tuned any way: with LoRA, DoRA, rsLoRA or as a whole; with each kind of tokenizer, template and head."""

import json
from itertools import cycle

import pytest
import sentencepiece
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tests.matrix import QUESTIONS, check_answers, check_saved, media, train
from tests.models.families import FAMILIES, SCALED
from tests.processor.templates import CHATML, GEMMA2
from tests.processor.tokenizers import CORPUS, byte_bpe
from tests.sources import save_encoders, sourced_streams
from tests.toys import talk
from unifusion.models.build import build_chat_model, describe_trainable, set_trainable
from unifusion.models.lora import add_lora, is_added

WAYS = ("full", "lora", "dora", "rslora")
LOOKS = [(pieces, template, tied) for pieces in ("bpe", "sentencepiece") for template in (False, True) for tied in (True, False)]
CASES = [
    (name, way, *look) for (name, way), look in zip([(n, w) for n in FAMILIES for w in WAYS], cycle(LOOKS[::3] + LOOKS[1::3] + LOOKS[2::3]))
]
"""Each family in each way; what else differs goes round, so that every family meets both tokenizers and both heads."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Encoders, and the two kinds of tokenizer."""
    folder = save_encoders(tmp_path_factory.mktemp("hub"))
    byte_bpe().save_pretrained(folder / "bpe")
    pieces = folder / "sentencepiece"
    pieces.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 4), model_prefix=str(pieces / "tokenizer"), vocab_size=330, model_type="bpe", byte_fallback=True,
        character_coverage=1.0, hard_vocab_limit=False, minloglevel=2, user_defined_symbols=["<start_of_turn>", "<end_of_turn>"],
    )  # fmt: skip
    told = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "legacy": False}
    (pieces / "tokenizer_config.json").write_text(json.dumps(told))
    return folder


def published(hub, name, pieces, template, tied):
    """A folder as a hub has it: weights wide enough that greedy choices are no ties, and a tokenizer."""
    folder = hub / f"{name}-{pieces}-{template}-{tied}"
    if not folder.exists():
        tokenizer = AutoTokenizer.from_pretrained(hub / pieces)
        tokenizer.chat_template = {"bpe": CHATML, "sentencepiece": GEMMA2}[pieces] if template else None
        ids = {k: getattr(tokenizer, k) for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
        torch.manual_seed(3)
        config = AutoConfig.for_model(**{**FAMILIES, **SCALED}[name], **{"vocab_size": len(tokenizer), **ids})
        config.tie_word_embeddings = tied
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(8.0)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def talks(*, taught):
    """Two questions about two clips."""
    clips = [media(1, 0.9), media(2, 0.5)]
    return [talk((c,), q, "yes, both" if taught else None) for c, q in zip(clips, QUESTIONS, strict=True)]


@pytest.mark.parametrize(("name", "way", "pieces", "template", "tied"), CASES, ids=lambda v: str(v))
def test_a_family_tuned_one_way(hub, tmp_path, name, way, pieces, template, tied):
    model, processor = build_chat_model(published(hub, name, pieces, template, tied), sourced_streams(hub))
    weights = {n: p.detach().clone() for n, p in model.language_model.named_parameters()}
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    set_trainable(model, {"encoders": False, "adapters": True, "language_model": True})
    if way != "full":
        audio = {"encoders.audio": {"rank": 3, "alpha": 6, "variant": way}} if tied else {}
        config = add_lora(model, {"language_model": {"rank": 2, "alpha": 4, "variant": way}, **audio})
        assert (config.use_dora, config.use_rslora) == (way == "dora", way == "rslora")
        assert bool(config.trainable_token_indices) == (not template) == ("rows of new control tokens" in describe_trainable(model))
        assert {f.split(".")[0] for f in model.state_dict() if "lora_A" in f} == {"language_model", *(["encoders"] if audio else [])}
        ranks = {(n.split(".")[0], len(p)) for n, p in model.named_parameters() if "lora_A" in n}
        assert ranks == {("language_model", 2), *([("encoders", 3)] if audio else [])}
    moved, declared = train(model, processor(talks(taught=True)))
    assert moved == declared
    assert all(is_added(n) for n in moved if not n.startswith("adapters.")) == (way != "full")
    again = check_saved(model, processor, talks(taught=False), tmp_path, merges=way != "full")
    assert again.config.absent == ["encoders.video", "encoders.audio", *([] if way == "full" else ["language_model"])]
    check_answers(again, processor, talks(taught=False))
    if way != "full":
        frozen = {n.removeprefix("language_model."): p for n, p in again.language_model.state_dict().items()}
        for weight, tensor in weights.items():
            parent, _, last = weight.rpartition(".")
            held = [f"{parent}.{last}", f"{parent}.base_layer.{last}", f"{parent}.token_adapter.base_layer.{last}"]
            assert torch.equal(next(frozen[h] for h in held if h in frozen), tensor), f"{weight} is not its source's"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["llama", "phi", *SCALED])
def test_rows_of_new_tokens_are_trained_where_they_are_read_and_written(hub, name, tied):
    """Only theirs, in the embeddings and in the head; a head's bias, and scaled or capped logits, stay."""
    model, processor = build_chat_model(published(hub, name, "bpe", False, tied), sourced_streams(hub))
    batch = processor(talks(taught=False))
    with torch.no_grad():
        before = model(**batch).logits
    set_trainable(model, {"encoders": False})
    add_lora(model, {"language_model": {"rank": 2}})
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(**batch).logits, before, atol=1e-5, rtol=1e-5)
    rows = model.config.new_tokens
    assert processor.tokenizer.convert_ids_to_tokens(rows) == ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    old = [m.weight.detach().clone() for m in (model.get_input_embeddings(), model.get_output_embeddings())]
    train(model, processor(talks(taught=True)))
    for layer, start in zip((model.get_input_embeddings(), model.get_output_embeddings()), old, strict=True):
        changed = (layer.weight != start).any(dim=1).nonzero()[:, 0].tolist()
        assert set(changed) <= set(rows) and rows[3] in changed, "the end of an answer is learned"
    tables = [m.weight for m in (model.get_input_embeddings(), model.get_output_embeddings())]
    assert torch.equal(*tables) == tied


def test_tokens_that_the_model_knew_are_not_new(hub, tmp_path):
    """A model that was taught the default format, and one with a template of its own."""
    folder = published(hub, "llama", "bpe", False, True)
    model, processor = build_chat_model(folder, sourced_streams(hub))
    assert len(model.config.new_tokens) == 4
    model.language_model.save_pretrained(tmp_path / "taught")
    processor.tokenizer.save_pretrained(tmp_path / "taught")
    taught, _ = build_chat_model(tmp_path / "taught", sourced_streams(hub))
    assert taught.config.new_tokens == []
    reused, _ = build_chat_model(folder, sourced_streams(hub), tokenizer=processor.tokenizer)
    assert reused.config.new_tokens == model.config.new_tokens, "the tokenizer knows them by now, the weights do not"
    assert build_chat_model(published(hub, "llama", "bpe", True, True), sourced_streams(hub))[0].config.new_tokens == []


def test_tuning_goes_on_after_loading(hub, tmp_path):
    """`set_adapter` frees what was tuned; the base stays its source's."""
    from unifusion import checkpoint

    model, processor = build_chat_model(published(hub, "llama", "bpe", False, True), sourced_streams(hub))
    set_trainable(model, {"encoders": False})
    add_lora(model, {"language_model": {"rank": 2}, "encoders.audio": {"rank": 2}})
    wanted = {n for n, p in model.named_parameters() if p.requires_grad}
    again, _ = checkpoint.load(checkpoint.save(model, processor, tmp_path / "a", provenance={}))
    again.set_adapter("default")
    set_trainable(again, {"adapters": True})
    moved, declared = train(again, processor(talks(taught=True)))
    assert moved == declared == wanted
