"""Text encoders from saved models: the tokens of their own tokenizer, the states of their own network, sentence embeddings."""

import json
from dataclasses import replace

import pytest
import torch
import transformers as hf
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from unifusion.conversation import Clip
from unifusion.encoders.bert import BERT
from unifusion.encoders.sbert import SBERT
from unifusion.encoders.xlm_roberta import XLMRoberta
from unifusion.errors import CheckpointError, ConfigError, MediaError

WORDS = "[PAD] [UNK] [CLS] [SEP] the dog barks while somebody laughs out loud a door is shut".split()
SHAPE = {
    "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 20, "pad_token_id": 0,
}  # fmt: skip
SAID = "the dog barks while somebody laughs out loud"


def tokenizer():
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return hf.PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def said(text=SAID, seconds=4.0):
    return Clip(transcript=text, duration_s=seconds)


@pytest.fixture(scope="module", params=["bert", "xlm_roberta"])
def saved(request, tmp_path_factory):
    cls, config, head, part = {
        "bert": (BERT, hf.BertConfig, hf.BertForMaskedLM, "bert"),
        "xlm_roberta": (XLMRoberta, hf.XLMRobertaConfig, hf.XLMRobertaForMaskedLM, "roberta"),
    }[request.param]
    torch.manual_seed(0)
    model, folder = head(config(**SHAPE)).eval(), tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return cls, folder, getattr(model, part)


def test_tokens_are_those_of_the_published_model(saved):
    cls, folder, network = saved
    encoder = cls.build(cls.Config(source=str(folder), max_tokens=16)).eval()
    prepared = encoder.preprocess(encoder.config, said())
    given = tokenizer()(SAID, return_tensors="pt")
    assert prepared.tensors["input_ids"][0, :10].tolist() == given["input_ids"][0].tolist() and int(prepared.mask_S.sum()) == 10
    with torch.no_grad():
        wanted = network(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).last_hidden_state[0]
        torch.testing.assert_close(encoder.encode_chunks(**prepared.tensors)[0, :10], wanted, atol=1e-5, rtol=1e-5)


def test_long_text_becomes_windows_whose_times_fill_the_clip(saved):
    cls, folder, _ = saved
    encoder = cls.build(cls.Config(source=str(folder), max_tokens=5))
    prepared = encoder.preprocess(encoder.config, said(f"{SAID} a door", seconds=6.0))
    ids = prepared.tensors["input_ids"]
    assert ids.shape == (4, 5) and ids[:, 0].tolist() == [2] * 4 and ids[3].tolist() == [2, WORDS.index("door"), 3, 0, 0]
    words = [WORDS[i] for row in ids.tolist() for i in row if i > 3]
    assert words == [*SAID.split(), "a", "door"], "nothing is cut off"
    times = prepared.times_S[prepared.mask_S]
    assert torch.all(times.diff() > 0) and 0 < float(times[0]) < 0.4 and 5.6 < float(times[-1]) < 6


def test_without_a_tokenizer_a_token_is_a_byte():
    encoder = BERT.build(BERT.tiny())
    ids = encoder.preprocess(encoder.config, said("Grüß")).tensors["input_ids"][0]
    assert (ids[:6] - 4).tolist() == list("Grüß".encode()) and not ids[6:].any()


def test_what_does_not_fit_is_refused(saved, tmp_path):
    cls, folder, _ = saved
    with pytest.raises(ConfigError, match="set max_tokens to 3"):
        cls.build(cls.Config(source=str(folder), max_tokens=21))
    with pytest.raises(MediaError, match="no transcript"):
        cls.preprocess(cls.resolve(cls.Config(source=str(folder), max_tokens=16)), said("  "))
    small = cls.build(cls.Config(backbone={**SHAPE, "vocab_size": 6}, tokenizer=str(folder), max_tokens=16))
    with pytest.raises(ConfigError, match="of a vocabulary of 6; give the tokenizer"):
        small.encode_chunks(**small.preprocess(small.config, said()).tensors)
    with pytest.raises(CheckpointError, match="cannot read the tokenizer"):
        lost = cls.resolve(cls.Config(backbone=SHAPE, tokenizer=str(tmp_path / "none"), max_tokens=16))
        cls.preprocess(lost, said())


def sentence_folder(folder, modules):
    torch.manual_seed(0)
    model = hf.BertModel(hf.BertConfig(**SHAPE), add_pooling_layer=False).eval()
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    listed = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for i, (kind, config) in enumerate(modules, start=1):
        path = f"{i}_{kind}"
        listed.append({"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"})
        (folder / path).mkdir()
        if config is not None:
            (folder / path / "config.json").write_text(json.dumps(config))
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16, "do_lower_case": False}))
    return model


DENSE = {"in_features": 32, "out_features": 6, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}
POOLING = {
    "word_embedding_dimension": 16,
    "pooling_mode_cls_token": True,
    "pooling_mode_mean_tokens": True,
    "pooling_mode_max_tokens": False,
}


@pytest.fixture
def sentences(tmp_path):
    model = sentence_folder(tmp_path, [("Pooling", POOLING), ("Dense", DENSE), ("Normalize", None)])
    dense = torch.nn.Linear(32, 6)
    save_file({f"linear.{k}": v for k, v in dense.state_dict().items()}, tmp_path / "2_Dense" / "model.safetensors")
    return tmp_path, model, dense


def test_sentence_embeddings_follow_the_modules_of_the_folder(sentences):
    folder, model, dense = sentences
    encoder = SBERT.build(SBERT.Config(source=str(folder), max_tokens=16)).eval()
    given = tokenizer()(SAID, return_tensors="pt")
    with torch.no_grad():
        states = model(**{k: given[k] for k in ("input_ids", "attention_mask")}).last_hidden_state
        pooled = torch.cat([states[:, 0], states.mean(dim=1)], dim=-1)
        wanted = torch.nn.functional.normalize(torch.tanh(dense(pooled)), dim=-1)
        prepared = encoder.preprocess(encoder.config, said())
        found = encoder.encode_chunks(**prepared.tensors)
    torch.testing.assert_close(found[:, 0], wanted, atol=1e-5, rtol=1e-5)
    assert encoder.width == 6 and prepared.times_S.tolist() == [2.0]
    gone = replace(encoder.config, source="no/such-model", tokenizer=str(folder))
    assert SBERT.resolve(gone) == gone, "a checkpoint needs its source no more"
    again = SBERT.build(gone, load_weights=False)
    again.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(again.eval().encode_chunks(**prepared.tensors), found)


def test_sentence_embeddings_equal_the_librarys(sentences):
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    folder, *_ = sentences
    encoder = SBERT.build(SBERT.Config(source=str(folder), max_tokens=16)).eval()
    theirs = library.SentenceTransformer(str(folder), device="cpu")
    texts = [SAID, "a door is shut", "somebody"]
    with torch.no_grad():
        ours = torch.cat([encoder.encode_chunks(**encoder.preprocess(encoder.config, said(t)).tensors)[:, 0] for t in texts])
    torch.testing.assert_close(ours, torch.tensor(theirs.encode(texts)), atol=1e-5, rtol=1e-5)


def test_a_bare_transformer_is_pooled_by_its_mean(saved):
    _, folder, network = saved
    encoder = SBERT.build(SBERT.Config(source=str(folder), max_tokens=16)).eval()
    given = tokenizer()(SAID, return_tensors="pt")
    with torch.no_grad():
        states = network(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).last_hidden_state
        found = encoder.encode_chunks(**encoder.preprocess(encoder.config, said()).tensors)
    torch.testing.assert_close(found[:, 0], states.mean(dim=1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        ([("Pooling", POOLING), ("CNN", {})], "a module 'CNN'"),
        ([("Pooling", {**POOLING, "pooling_mode": "lasttoken"})], "pooled by 'lasttoken'"),
        ([("Dense", {**DENSE, "activation_function": "x.Swish"})], "the activation 'Swish'"),
        ([("Pooling", POOLING), ("Dense", DENSE)], r"no 2_Dense/model\.safetensors"),
    ],
)
def test_modules_that_are_not_known_are_refused(tmp_path, modules, told):
    sentence_folder(tmp_path, modules)
    with pytest.raises(CheckpointError, match=told):
        SBERT.build(SBERT.Config(source=str(tmp_path), max_tokens=16))


def test_a_hub_that_cannot_be_reached_is_an_error_and_no_other_embedding():
    with pytest.raises(CheckpointError, match=r"cannot read modules\.json of 'nobody/no-such-sentences'"):
        SBERT.resolve(SBERT.Config(source="nobody/no-such-sentences"))


def test_a_sentence_encoder_without_a_kind_or_weights():
    with pytest.raises(ConfigError, match="needs weights or a shape"):
        SBERT.resolve(SBERT.Config())
    with pytest.raises(ConfigError, match="model_type 'brt'"):
        SBERT.resolve(SBERT.Config(backbone={"model_type": "brt"}))
