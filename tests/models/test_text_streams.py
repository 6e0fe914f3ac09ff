"""A text stream's own tokenizer lies in the checkpoint, so that one that is self-contained opens a transcript with the source gone."""

import json
import shutil

import pytest
import torch
import transformers as hf

from tests.encoders.test_texts import SHAPE, sentence_folder, tokenizer
from tests.toys import LLAMA, byte_tokenizer, talk
from unifusion import catalog, checkpoint
from unifusion.conversation import Clip, Media
from unifusion.encoders import _texts
from unifusion.errors import CheckpointError
from unifusion.models.build import build_chat_model, set_trainable
from unifusion.models.lora import add_lora
from unifusion.processor import StreamSpec

KINDS = {"bert": (hf.BertConfig, hf.BertModel), "xlm_roberta": (hf.XLMRobertaConfig, hf.XLMRobertaModel)}


def said(words="the dog barks while somebody laughs"):
    return talk((Media(kind="video", source=Clip(transcript=words, duration_s=2.0)),), "what?")


@pytest.fixture(params=["bert", "xlm_roberta", "sbert"])
def built(request, tmp_path):
    """A model whose text encoder comes from a folder, and that folder."""
    source = tmp_path / "source"
    source.mkdir()
    torch.manual_seed(0)
    if request.param == "sbert":
        sentence_folder(source, [("Normalize", None)])
    else:
        config, network = KINDS[request.param]
        network(config(**SHAPE)).save_pretrained(source)
        tokenizer().save_pretrained(source)
    linear = vars(catalog.load("adapters", "linear").tiny())
    choices = {"source": str(source), "max_tokens": 8}
    streams = {
        n: StreamSpec(encoder=request.param, encoder_config=choices, adapter="linear", adapter_config=linear) for n in ("said", "told")
    }
    model, processor = build_chat_model(LLAMA, streams, tokenizer=byte_tokenizer())
    return model, processor, source


def logits(model, processor):
    with torch.no_grad():
        return model(**processor([said()])).logits


def test_a_checkpoint_that_is_whole_needs_its_source_no_more(built, tmp_path):
    model, processor, source = built
    wanted, ids = logits(model, processor), processor([said()])["media"]["said"]["input_ids"]
    folder = checkpoint.save(model, processor, tmp_path / "whole", provenance={}, self_contained=True)
    assert {p.name for p in (folder / "streams").iterdir()} == {"said", "told"}
    assert str(tmp_path / "whole") not in (folder / "processor_config.json").read_text(), "it may be moved"
    shutil.move(folder, tmp_path / "moved")
    shutil.rmtree(source)
    _texts._tokenizer.cache_clear()
    again, reader = checkpoint.load(tmp_path / "moved")
    assert torch.equal(reader([said()])["media"]["said"]["input_ids"], ids), "the words' own ids, not bytes"
    assert torch.equal(logits(again, reader), wanted)
    saved = checkpoint.save(again, reader, tmp_path / "again", provenance={}, self_contained=True)
    shutil.rmtree(tmp_path / "moved")
    _texts._tokenizer.cache_clear()
    assert torch.equal(logits(*checkpoint.load(saved)), wanted)
    add_lora(checkpoint.load(saved)[0], {"encoders.said": {"rank": 2}})  # which shows it a transcript
    again, reader = checkpoint.load(saved)
    set_trainable(again, {"encoders": True})
    assert torch.isfinite(again.train()(**reader([talk((), "what?", "yes")])).loss), "so does a step without one"
    assert json.loads((saved / "processor_config.json").read_text())["streams"]["said"]["encoder_config"]["source"] == str(source)


def test_code_that_a_streams_tokenizer_names_is_refused(built, tmp_path):
    model, processor, _ = built
    folder = checkpoint.save(model, processor, tmp_path / "whole", provenance={}, self_contained=True)
    path = folder / "streams" / "told" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}))
    with pytest.raises(CheckpointError, match="names code to run"):
        checkpoint.load(folder)
