"""The same input gives the same vector in any company, of whatever is there of a clip; habits of sentence-transformers; the key."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests import toys
from tests.export.models import embedder, spoken, stream
from unifusion.cli.checks.codecs import make_clip
from unifusion.conversation import Clip, Media
from unifusion.engine.embedder import Embedder
from unifusion.errors import CheckpointError, ConfigError, MediaError, NoStreamError
from unifusion.models.aligner import CLIP
from unifusion.models.aligner_files import save_aligner

TEXTS = ["a dog", "someone laughs at a dog that barks", "x", "a train " * 20]


def model(**changed):
    streams = {"video": stream("resnet"), "audio": stream("sound_resnet"), "text": stream("bert")}
    return embedder({**streams, **changed.pop("streams", {})}, **changed)


@pytest.fixture(scope="module")
def toy():
    return model()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A film, a sound and two stills, one of them on its side."""
    folder = tmp_path_factory.mktemp("files")
    make_clip(folder / "film.mp4", "libx264", "aac")
    make_clip(folder / "tone.wav", "", "pcm_s16le")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    picture.save(folder / "still.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=exif)
    return folder


def media():
    """Clips with all, without sound, without picture, without words, of words alone, and of many lengths."""
    return [
        spoken(1, seconds=1.3), toys.video(seed=2, sound=False), toys.video(seed=3, picture=False, seconds=2.2), spoken(4, "word " * 30),
        Media(kind="audio", source=Clip(transcript="words alone", duration_s=1.0)), toys.video(seed=5, seconds=0.4),
    ]  # fmt: skip


def close(a, b):
    np.testing.assert_allclose(a, b, atol=2e-6, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 16])
def test_a_vector_does_not_hang_on_its_company(toy, batch_size):
    given = media()
    wanted = [toy.embed([m])[0] for m in given]
    order = [4, 2, 0, 5, 3, 1]
    for i, found in zip(order, toy.embed([given[i] for i in order], batch_size=batch_size), strict=True):
        assert set(found.vectors) == set(wanted[i].vectors) and found.report.to_dict() == wanted[i].report.to_dict()
        for space, vector in found.vectors.items():
            close(vector, wanted[i].vectors[space])
            assert vector.dtype == np.float32 and vector.shape == (24,) and abs(np.linalg.norm(vector) - 1) < 1e-5
    again = [toy.embed([m])[0] for m in given]
    assert all((a.vectors[s] == b.vectors[s]).all() for a, b in zip(wanted, again, strict=True) for s in a.vectors)


def test_spaces_are_those_that_are_there_and_the_clip_is_their_sum(toy):
    whole, silent, unseen, said, words, short = toy.embed(media())
    assert [set(e.vectors) - {CLIP} for e in (whole, silent, unseen, words)] == [{"video", "audio", "text"}, {"video"}, {"audio"}, {"text"}]
    summed = whole.vectors["video"] + whole.vectors["audio"]
    close(whole.vectors[CLIP], summed / np.linalg.norm(summed))
    assert (silent.vectors[CLIP] == silent.vectors["video"]).all() and (words.vectors[CLIP] == words.vectors["text"]).all()
    assert not whole.report.streams["video"].reason and silent.report.streams["audio"].reason == "the file has no sound in this span"
    assert whole.duration_s == 1.3 and abs(said.vectors["video"] - short.vectors["video"]).max() > 0.02
    assert toy.streams == {"video": "video", "audio": "audio", "text": "text"} and toy.spaces == ("video", "audio", "text", CLIP)


def test_what_is_muted_is_left_out(toy):
    clip = spoken(1)
    (whole,) = toy.embed([clip])
    (deaf,) = toy.embed([clip.muted("audio", "text")])
    assert set(deaf.vectors) == {"video", CLIP} and (deaf.vectors[CLIP] == deaf.vectors["video"]).all()
    close(deaf.vectors["video"], whole.vectors["video"])
    assert [deaf.report.streams[n].reason for n in ("audio", "text")] == ["muted on request"] * 2
    with pytest.raises(NoStreamError, match=r"<arrays>: nothing of it can be embedded \(.*audio: muted on request"):
        toy.embed([clip, clip.muted("video", "audio", "text")])
    with pytest.raises(NoStreamError, match="text: muted on request"):
        toy.embed([Media(kind="audio", source=Clip(transcript="a"), mute=("text",))])


def test_words_are_embedded_where_nothing_else_is_read(files):
    reader = embedder({"text": stream("bert"), "video": stream("resnet")})
    (found,) = reader.embed([Media(kind="audio", source=files / "tone.wav", transcript="a tone")])
    assert set(found.vectors) == {"text", CLIP} and "tone.wav" in found.report.streams["video"].reason
    with pytest.raises(NoStreamError, match=r"tone\.wav: no stream"):
        reader.embed([Media(kind="audio", source=files / "tone.wav")])
    blind = embedder({"text": stream("bert")})
    assert set(blind.embed([spoken(1)])[0].vectors) == {"text", CLIP}
    with pytest.raises(NoStreamError, match="nobody told what is said"):
        blind.embed([toys.video(seed=1)])


def test_files_stills_pictures_and_waveforms(toy, files):
    film, sound, still = toy.encode([files / n for n in ("film.mp4", "tone.wav", "still.png")])
    (read,) = toy.embed([Media(kind="image", source=files / "still.png")])
    close(still, read.vectors["video"])
    for name in ("still.png", "turned.jpg"):
        with Image.open(files / name) as picture:
            close(toy.encode(picture), toy.encode(files / name))
    wave = toys.clip(seed=3).waveform_N
    given = [wave, wave.astype(np.float64), torch.from_numpy(wave), Clip(waveform_N=wave, duration_s=1.0)]
    vectors = toy.encode(given)
    assert all(np.abs(v - vectors[0]).max() < 2e-6 for v in vectors) and np.abs(vectors[0] - sound).max() > 0.02
    assert film.shape == (24,) and np.abs(film - still).max() > 0.02
    (clip,) = toy.embed([Media(kind="video", source=files / "film.mp4", start_s=0.2, end_s=0.6)])
    assert clip.duration_s == pytest.approx(0.4, abs=0.05)


def test_a_picture_with_holes_is_shown_on_white_as_its_file_is(toy, tmp_path):
    rgba = np.random.default_rng(1).integers(0, 255, (32, 32, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "holes.png")
    close(toy.encode(Image.fromarray(rgba)), toy.encode(tmp_path / "holes.png"))


def test_errors_name_the_file(toy, tmp_path, files):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes((files / "film.mp4").read_bytes()[:300])
    for source in (bad, tmp_path / "none.mp4"):
        with pytest.raises(MediaError, match=source.name):
            toy.embed([spoken(1), Media(kind="video", source=source)])
        with pytest.raises(MediaError, match=source.name):
            toy.encode(["a", source])


def test_texts(toy):
    found = toy.embed_texts(TEXTS)
    assert found.shape == (4, 24) and found.dtype == np.float32
    close(found, toy.embed_texts(TEXTS, batch_size=1))
    close(found[::-1], toy.embed_texts(TEXTS[::-1], batch_size=3))
    close(found, np.stack([toy.encode(t) for t in TEXTS]))
    assert toy.embed_texts([]).shape == (0, 24) and toy.embed([]) == [] and toy.embed_opened([]) == []
    with pytest.raises(ConfigError, match=r"'a dog' is one text.*give \[text\]"):
        toy.embed_texts("a dog")
    for bad in (["a", " "], ["a", 3]):
        with pytest.raises(ConfigError, match="text 1 is"):
            toy.embed_texts(bad)
    with pytest.raises(ConfigError, match="deaf reads no words"):
        embedder({"video": stream("resnet")}, name="deaf").embed_texts(["a"])
    for call in (toy.embed_texts, toy.encode):
        with pytest.raises(ConfigError, match="batch_size is 0"):
            call(["a"], batch_size=0)


def test_encode_has_the_habits_of_sentence_transformers(toy, capsys):
    one, several = toy.encode("a dog"), toy.encode(TEXTS, batch_size=3, normalize_embeddings=True)
    assert one.shape == (24,) and several.shape == (4, 24) and isinstance(several, np.ndarray)
    close(several[0], one)
    assert toy.encode(["a dog"]).shape == (1, 24) and toy.encode([]).shape == (0, 24) and toy.encode(()).dtype == np.float32
    close(toy.encode(np.array(TEXTS)), several)
    close(toy.encode(tuple(TEXTS)), several)
    tensors = toy.encode(TEXTS, convert_to_tensor=True)
    assert isinstance(tensors, torch.Tensor) and tensors.shape == (4, 24) and toy.encode("a", convert_to_tensor=True).shape == (24,)
    listed = toy.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(listed, list) and torch.equal(torch.stack(listed), tensors)
    capsys.readouterr()
    toy.encode(TEXTS, show_progress_bar=True)
    shown = capsys.readouterr().err
    toy.encode(TEXTS)
    assert "batch" in shown and not capsys.readouterr().err


def test_encode_mixes_kinds_in_order_and_gives_one_space(toy, files):
    given = ["words", spoken(1), files / "still.png", "more words than before"]
    found = toy.encode(given, batch_size=2)
    for i, each in enumerate(given):
        close(found[i], toy.encode(each))
    close(toy.encode(given[1], space="audio"), toy.embed([given[1]])[0].vectors["audio"])
    with pytest.raises(ConfigError, match=r"input 2 has no vector 'audio'; .*video"):
        toy.encode([spoken(1), spoken(2), files / "still.png"], space="audio")


ARRAYS = [np.zeros((2, 100), np.float32), np.zeros(100, np.int16), np.zeros(0)]


@pytest.mark.parametrize("bad", ["", "  ", 3, None, {"a": 1}, ["nested"], *ARRAYS])
def test_encode_says_what_it_takes(toy, bad):
    with pytest.raises(ConfigError, match="cannot be embedded; give a text, a Path"):
        toy.encode([bad])


def test_similarity_is_a_cosine(toy):
    a, b = toy.encode(TEXTS), toy.encode([spoken(1), spoken(2)])
    close(toy.similarity(a, b), a @ b.T)
    assert toy.similarity(a, b).shape == (4, 2) and toy.similarity(a[0], b).shape == (1, 2) and toy.similarity(a, a[:0]).shape == (4, 0)
    close(toy.similarity(3 * a, b), a @ b.T)
    close(np.diagonal(toy.similarity(a, a)), 1.0)
    both = toy.similarity(torch.from_numpy(a), torch.from_numpy(b))
    assert isinstance(both, torch.Tensor) and isinstance(toy.similarity(torch.from_numpy(a), b), np.ndarray)
    close(both.numpy(), a @ b.T)
    assert np.isfinite(toy.similarity(np.zeros(24), b)).all()


def test_the_scale_is_told_and_not_multiplied_in(toy):
    assert toy.scale == pytest.approx(1 / 0.07, rel=1e-4) and toy.width == 24 and toy.max_seconds == 8.0
    warmer = model()
    with torch.no_grad():
        warmer.model.logit_scale.fill_(1.0)
    close(warmer.encode("a"), toy.encode("a"))
    assert warmer.scale == pytest.approx(np.e, rel=1e-5)


def test_the_key_changes_with_what_vectors_hang_on_alone(toy):
    assert model().key == toy.key != model(seed=1).key and len(toy.key) == 64
    assert model(calibration={"threshold": 0.3}).calibrated({"more": 1.0}).key == toy.key
    assert model(name="other").key == toy.key
    finer = stream("resnet")
    finer.encoder_config["rate_hz"] = 8.0
    assert model(streams={"video": finer}).key != toy.key
    for part in ("encoders.video.", "towers.text.", "towers.audio."):
        changed = model()
        with torch.no_grad():
            next(p for n, p in changed.model.named_parameters() if n.startswith(part)).add_(1e-3)
        assert changed.key != toy.key, part
    assert Embedder(model().model, strict=False).key != toy.key


def test_the_key_does_not_change_with_the_place(toy, tmp_path):
    first = save_aligner(toy.model, tmp_path / "first", provenance={})
    moved = shutil.copytree(first, tmp_path / "elsewhere" / "second")
    found = Embedder.load(moved)
    assert found.key == toy.key and found.name == "second" and found.calibration == {}
    for a, b in zip(found.embed(media()), toy.embed(media()), strict=True):
        assert all((a.vectors[s] == v).all() for s, v in b.vectors.items())
    with pytest.raises(CheckpointError, match="holds no embedding model"):
        Embedder.load(tmp_path)


def tokenizer_in(folder, **options):
    toys.byte_tokenizer(**options).save_pretrained(folder)
    return folder


def read_by(folder):
    """A model whose words are cut by the tokenizer in a folder."""
    words = stream("bert")
    words.encoder_config |= {"tokenizer": str(folder), "backbone": {**words.encoder_config["backbone"], "vocab_size": 300}}
    return embedder({"text": words})


def test_the_key_knows_a_tokenizer_by_what_it_does(tmp_path):
    here, there = (read_by(tokenizer_in(tmp_path / n)) for n in ("here", "there"))
    other = read_by(tokenizer_in(tmp_path / "other", additional_special_tokens=["dog"]))
    assert here.key == there.key != other.key
    before, vector = here.key, here.encode("a dog")
    saved = save_aligner(here.model, tmp_path / "saved", provenance={})
    shutil.rmtree(tmp_path / "here")
    again = Embedder.load(saved)
    close(again.encode("a dog"), vector)
    assert again.key == before and np.abs(other.encode("a dog") - vector).max() > 1e-3


def test_clips_are_opened_apart_from_their_embedding(toy):
    opened = [toy.open(m) for m in media()]
    found = toy.embed_opened(opened)
    for a, b in zip(found, toy.embed(media()), strict=True):
        assert all((a.vectors[s] == v).all() for s, v in b.vectors.items())
    nothing = replace(opened[0], streams={n: replace(s, mask_S=torch.zeros_like(s.mask_S)) for n, s in opened[0].streams.items()})
    with pytest.raises(NoStreamError, match="<arrays>"):
        toy.embed_opened([opened[1], nothing])
