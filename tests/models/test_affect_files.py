"""An emotion model's folder: what is stored and what is fetched again, and folders that are damaged, of another kind, or hostile."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import toys
from tests.models.test_affect import ROWS, model, stream
from unifusion import catalog, checkpoint
from unifusion.errors import CheckpointError, ConfigError
from unifusion.models.affect_files import is_affect, load_affect, save_affect, stream_of_checkpoint
from unifusion.models.encoded import EncodedStream
from unifusion.models.opened_rows import RowOpener
from unifusion.training.affect import tell_opened


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A sound folder; tests take copies."""
    provenance = {"recipe": "emotion", "choices": {"seed": 1}}
    return save_affect(model(), tmp_path_factory.mktemp("saved") / "m", provenance=provenance, card="# Mine\n")


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "m")


@pytest.fixture
def published(tmp_path):
    """Weights of an encoder as a folder of transformers, and a stream that names it."""
    cls = catalog.load("encoders", "bert")
    torch.manual_seed(5)
    cls.build(cls.resolve(cls.tiny())).backbone.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert", EncodedStream(encoder="bert", encoder_config={"source": str(tmp_path / "bert")})


def test_the_folder_says_what_it_is(saved):
    assert is_affect(saved) and (saved / "README.md").read_text() == "# Mine\n"
    assert json.loads((saved / "provenance.json").read_text())["choices"] == {"seed": 1}
    raw = json.loads((saved / "config.json").read_text())
    assert raw["absent"] == [] and raw["stream_order"] == ["video", "audio", "text", "before"]


def test_streams_keep_their_order_whatever_the_file_does_to_it(copied):
    path = copied / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    again = load_affect(copied)
    assert list(again.config.streams) == ["video", "audio", "text", "before"]
    rows = [RowOpener(again).open(row) for row in ROWS]
    assert torch.equal(*(torch.from_numpy(tell_opened(m, rows)["logits"]) for m in (again, model())))


@pytest.mark.parametrize("content", [None, "{", "[]", '{"model_type": "unifusion"}', "{}"])
def test_what_is_no_emotion_model(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert not is_affect(tmp_path)
    with pytest.raises(CheckpointError, match="holds no emotion model"):
        load_affect(tmp_path)


def test_a_chat_model_is_none(tmp_path):
    checkpoint.save(*toys.chat_model(), tmp_path / "chat", provenance={}, self_contained=True)
    assert not is_affect(tmp_path / "chat") and not is_affect("checkpoints/tiny-chat") and not is_affect("no/such/folder")


@pytest.mark.parametrize("damage", ["missing", "cut", "text"])
def test_weights_that_cannot_be_read(copied, damage):
    path = copied / "model.safetensors"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"weights")
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        load_affect(copied)


def test_weights_of_another_model(copied):
    path = copied / "model.safetensors"
    state = load_file(path)
    name = next(k for k in state if k.startswith("heads.emotion"))
    save_file({**{k: v for k, v in state.items() if k != name}, "heads.mood": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=rf"missing \['{name}'\], unknown \['heads\.mood'\]"):
        load_affect(copied)
    save_file({**state, name: torch.zeros(99)}, path)
    with pytest.raises(CheckpointError, match=r"heads\.emotion"):
        load_affect(copied)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"fusion": "atention_pool"}, ConfigError, "did you mean 'attention_pool'"),
        ({"mood": 1}, ConfigError, "has no choice 'mood'"),
        ({"fusion_config": {"wdth": 3}}, ConfigError, "did you mean 'width'"),
        ({"labels": ["sad"]}, ConfigError, "two or more"),
    ],
)
def test_a_config_that_was_written_by_hand(copied, change, kind, said):
    path = copied / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(kind, match=said):
        load_affect(copied)


def test_a_frozen_encoder_is_fetched_from_its_source_and_told_when_that_is_gone(tmp_path, published):
    source, text = published
    own = model(streams={"audio": stream("whisper"), "text": text})
    own.encoders["text"].load_state_dict(catalog.load("encoders", "bert").build(text.spec.encoder_choices, load_weights=True).state_dict())
    save_affect(own, tmp_path / "m", provenance={})
    assert json.loads((tmp_path / "m" / "config.json").read_text())["absent"] == ["text"]
    assert not any(k.startswith("encoders.text.") for k in load_file(tmp_path / "m" / "model.safetensors"))
    again = load_affect(tmp_path / "m")
    assert all(torch.equal(v, own.state_dict()[k]) for k, v in again.state_dict().items())
    source.rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match=r"m, stream 'text': .*bert.* `source`, where it is now"):
        load_affect(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    path.write_text(path.read_text().replace(str(source), str(tmp_path / "moved")))
    assert all(torch.equal(v, own.state_dict()[k]) for k, v in load_affect(tmp_path / "m").state_dict().items())


def test_an_encoder_that_was_trained_is_stored_whatever_its_source(tmp_path, published):
    source, text = published
    own = model(streams={"text": EncodedStream(encoder="bert", encoder_config=text.encoder_config, trained=1)})
    save_affect(own, tmp_path / "m", provenance={})
    shutil.rmtree(source)
    again = load_affect(tmp_path / "m")
    assert all(torch.equal(v, own.state_dict()[k]) for k, v in again.state_dict().items())


def test_a_weight_that_is_not_finite_leaves_the_folder_as_it_was(copied):
    own = model()
    next(own.heads.parameters()).data[0] = float("nan")
    before = (copied / "model.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match=r"heads\..* is not finite .*nothing was written"):
        save_affect(own, copied, provenance={})
    assert (copied / "model.safetensors").read_bytes() == before


def test_an_encoder_of_ones_own_cannot_be_saved(tmp_path):
    own = model(streams={"text": EncodedStream(encoder="unifusion.encoders.bert:BERT", encoder_config=stream("bert").encoder_config)})
    with pytest.raises(CheckpointError, match="catalog entries only"):
        save_affect(own, tmp_path / "m", provenance={})
    assert not (tmp_path / "m").exists()


def test_a_run_of_seeds_is_no_model_and_says_so(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run" / "seed-3")
    with pytest.raises(CheckpointError, match=r"each of several seeds; name one of them: .*seed-3"):
        checkpoint.load(tmp_path / "run")


def test_a_stream_of_a_chat_model_comes_with_its_weights(tmp_path):
    chat, processor = toys.chat_model(seed=3)
    checkpoint.save(chat, processor, tmp_path / "chat", provenance={}, self_contained=True)
    taken, encoder = stream_of_checkpoint(str(tmp_path / "chat"), "audio")
    assert taken.encoder == "whisper" and taken.trained == 0
    assert all(torch.equal(v, chat.encoders["audio"].state_dict()[k]) for k, v in encoder.state_dict().items())
    with pytest.raises(ConfigError, match="no stream 'sound'"):
        stream_of_checkpoint(str(tmp_path / "chat"), "sound")
    with pytest.raises(CheckpointError):
        stream_of_checkpoint(str(tmp_path / "nowhere"), "audio")


@pytest.mark.parametrize("trained", [-2, "all", True, 1.5])
def test_how_much_of_an_encoder_is_trained_is_a_number_of_blocks(trained):
    with pytest.raises(ConfigError, match="0 for none, -1 for all of it"):
        stream("bert", trained=trained)


def test_more_blocks_than_an_encoder_has():
    with pytest.raises(ConfigError, match="stream 'text': 3 blocks of bert are to be trained, and it has 2; take 1 to 2"):
        model(streams={"text": stream("bert", trained=3)})
    with pytest.raises(ConfigError, match="it has 0; take -1"):
        model(streams={"audio": stream("sound_resnet", trained=1)})
