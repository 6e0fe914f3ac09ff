"""Any multimodal chat model, through the processor it was published with: pictures as stills in order of time, sound as a waveform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unifusion.checkpoint import is_ours, no_progress_bar, read_json
from unifusion.conversation import Clip, Conversation, Media
from unifusion.errors import CheckpointError, MediaError, UniFusionError
from unifusion.models.existing.family import Intake, Prepared
from unifusion.models.existing.loading import checked_config, dtype_on, folder_of, load_network, supported
from unifusion.models.existing.mels import whole_waveform
from unifusion.processor import OpenedMedia
from unifusion.processor.layout import stamped
from unifusion.share import resolve_checkpoint

__all__ = ["Peer", "is_peer", "load_peer"]

_KINDS = {"video": "image", "audio": "audio"}
"""Stream -> what a chat template calls one item of it."""
_PARTS = {"video": ("image_processor",), "audio": ("feature_extractor", "audio_processor")}
"""Stream -> what a processor calls its part for it."""
_TORCHVISION = "install the build of torchvision that belongs to this torch."
_MARK = "zqtextqz"
_SHORT_S, _LONG_S = 30.0, 60.0


def is_peer(source: str | Path) -> bool:
    """Whether `load_peer` is the one to open a model: it is neither ours nor of a kind in `supported`.

    Raises:
        CheckpointError: see `load_existing`.
    """
    folder = resolve_checkpoint(source)
    return not is_ours(folder) and checked_config(folder_of(folder)).get("model_type") not in supported()


def load_peer(source: str | Path, *, device: str | torch.device = "cpu", frames: int = 8) -> tuple[Any, Peer]:
    """Load any multimodal chat model of transformers, with the processor it was published with.

    Args:
        source, device: see `load_existing`.
        frames: most pictures of a clip that it is shown.

    Raises:
        CheckpointError: transformers has no such class, or the folder is refused as by `load_existing`.
    """
    import transformers

    folder = folder_of(source)
    raw = checked_config(folder)
    name = str((raw.get("architectures") or [""])[0])
    found = getattr(transformers, name, None)
    if found is None or not hasattr(found, "config_class") or not found.can_generate():
        raise CheckpointError(
            f"{folder / 'config.json'} describes a {raw.get('model_type')!r} model ({name or 'no architecture'}), which transformers"
            f" {transformers.__version__} cannot let answer;",
            remedy="name a chat model that transformers has, saved by its save_pretrained.",
        )
    try:
        with no_progress_bar():
            network = load_network(name, folder, dtype_on(device))
    except UniFusionError:
        raise
    except Exception as error:  # safetensors and configs raise plain Exceptions for broken files
        raise CheckpointError(f"{folder} cannot be loaded: {error};", remedy="copy it again.") from error
    return network.to(device).eval(), Peer(_processor(folder, network.config), network.config, frames=frames)


def _processor(folder: Path, config: Any) -> Any:
    """The processor of a folder; without torchvision, its part for videos is left out, which alone needs it in most families.

    Raises:
        CheckpointError: there is none, a library is missing, or it has no chat template.
    """
    from transformers import AutoProcessor
    from transformers.utils import is_torchvision_available

    try:
        kind = None if is_torchvision_available() else _class_of(folder, config)
        if kind is not None and "video_processor" in kind.get_attributes():
            found = _without_videos(kind, folder)
        else:
            found = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # processors raise plain Exceptions of many kinds for files that do not fit
        if "torchvision" in str(error).lower():
            remedy = _TORCHVISION
        else:
            remedy = "install it." if isinstance(error, ImportError) else "copy it again."
        raise CheckpointError(f"the processor of {folder} cannot be opened: {_line(error)};", remedy=remedy) from error
    if not getattr(found, "chat_template", None) and not getattr(getattr(found, "tokenizer", None), "chat_template", None):
        raise CheckpointError(f"{folder} has no chat template;", remedy="use the model's instruction-tuned version.")
    return found


def _class_of(folder: Path, config: Any) -> Any:
    """The class of a folder's processor, as its files name it or for its kind of model; None where there is none."""
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    files = [folder / name for name in ("processor_config.json", "preprocessor_config.json") if (folder / name).is_file()]
    named = next((name for file in files if (name := read_json(file).get("processor_class"))), "")
    return getattr(transformers, named, None) or PROCESSOR_MAPPING.get(type(config), None)


def _without_videos(kind: Any, folder: Path) -> Any:
    """A processor whose part for videos is None; stills and sound go through the others."""
    from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoTokenizer

    openers: dict[str, Any] = {"tokenizer": AutoTokenizer, "image_processor": AutoImageProcessor}

    class WithoutVideos(kind):  # type: ignore[misc]
        """The same, which may lack its part for videos."""

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            """Take None, too."""
            return None if argument is None else super().check_argument_for_proper_class(argument_name, argument)

    WithoutVideos.__name__ = kind.__name__
    parts = {
        name: None if name == "video_processor" else openers.get(name, AutoFeatureExtractor).from_pretrained(folder)
        for name in kind.get_attributes()
    }
    told, _ = kind.get_processor_dict(folder)
    return WithoutVideos(**parts, **{k: v for k, v in told.items() if k not in (*parts, "processor_class", "auto_map")})


def _line(error: Exception) -> str:
    """The first line of an error that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


class Peer(Intake):
    """What a model's own processor takes of clips, and the prompts that it writes of them.

    What a user types can never become a control token: one that stands in a text is parted by a blank. (`sanitize_control_tokens` of
    transformers does so without the blank, but not in every family.)

    Args:
        own: the processor.
        config: of the network.
        frames: most pictures of a clip, evenly over it.

    Raises:
        CheckpointError: it takes neither pictures nor sound, or does not show them, or what is said.
    """

    rate_hz = 4.0

    def __init__(self, own: Any, config: Any, *, frames: int = 8) -> None:
        self.own = own
        self.max_frames = frames
        parts = {s: next((p for n in names if (p := getattr(own, n, None)) is not None), None) for s, names in _PARTS.items()}
        ids = {s: self._placeholder(config, _KINDS[s]) for s, part in parts.items() if part is not None}
        self.placeholders = {stream: id for stream, id in ids.items() if id is not None}
        if not self.placeholders:
            raise CheckpointError(f"{type(own).__name__} takes neither pictures nor sound;", remedy="name a multimodal chat model.")
        self.takes = tuple(self.placeholders)  # type: ignore[misc]
        self.sampling_rate_hz = int(getattr(parts["audio"], "sampling_rate", None) or self.sampling_rate_hz)
        special = [t.content for t in own.tokenizer.added_tokens_decoder.values() if t.special]
        named = [v for k, v in vars(own).items() if k.endswith("_token") and isinstance(v, str)]
        self._control = sorted({t for t in (*special, *named) if len(t) > 2}, key=len, reverse=True)
        self._plain = self._wants_plain()
        for stream in self.takes:
            self._try(stream)

    def _placeholder(self, config: Any, kind: str) -> int | None:
        """Id of the token that stands for one place of a picture or sound."""
        for holder in (config, self.own):
            for name in (f"{kind}_token_id", f"{kind}_token_index"):
                if isinstance(found := getattr(holder, name, None), int):
                    return found
        token = getattr(self.own, f"{kind}_token", None)
        return self.own.tokenizer.convert_tokens_to_ids(token) if isinstance(token, str) else None

    def _wants_plain(self) -> bool:
        """Whether the chat template takes texts as strings only, where no clip stands beside them.

        Raises:
            CheckpointError: it shows neither form.
        """
        why = ""
        for plain in (False, True):
            turns = [(role, _MARK if plain else [{"type": "text", "text": _MARK}]) for role in ("user", "assistant", "user")]
            try:
                text = str(self.own.apply_chat_template([{"role": r, "content": c} for r, c in turns], tokenize=False))
            except Exception as error:  # templates raise what they like
                why = f" ({_line(error)})"
                continue
            if text.count(_MARK) == len(turns) and "'text'" not in text:
                return plain
        raise CheckpointError(f"the chat template of {type(self.own).__name__} does not show what is said{why};", remedy=self._remedy)

    def _try(self, stream: str) -> None:
        """See that the processor shows what it has a part for.

        Raises:
            CheckpointError: it does not.
        """
        own, why = type(self.own).__name__, "none of its tokens are in the prompt"
        try:
            if self.count(self.inputs(_question(_item(stream, self.sampling_rate_hz))), stream):
                return
        except MediaError as error:
            why = error.found.rstrip(";")
        raise CheckpointError(f"{own} has a part for {_KINDS[stream]}, but shows none: {why};", remedy=self._remedy)

    @property
    def _remedy(self) -> str:
        """What to do about a processor that does not show what it should."""
        if getattr(self.own, "video_processor", "") is None:
            return f"this family may need its part for videos: {_TORCHVISION}"
        return "copy config.json, chat_template.jinja and the processor's files again; they must fit each other."

    def picture(self, clip: Clip, *, still: bool, most_tokens: int) -> Prepared:
        """Frames (T, H, W, 3) as they are: the processor resizes them when it writes the prompt."""
        del most_tokens
        frames = torch.from_numpy(clip.frames_THWC[:1] if still else clip.frames_THWC)  # type: ignore[index]
        seconds = 0.0 if still else clip.duration_s
        return Prepared(tensors={"frames": frames}, tokens=0, seconds=seconds, frames=len(frames))

    def sound(self, clip: Clip) -> Prepared:
        """The waveform (N,), as much of it as the processor takes."""
        waveform_N = torch.from_numpy(whole_waveform(clip)).float()
        rate = self.sampling_rate_hz
        notes: tuple[str, ...] = ()
        if len(waveform_N) > _SHORT_S * rate and len(waveform_N) > self.longest_s * rate:
            notes = (f"only the first {self.longest_s:.1f} s of the sound are shown: the model takes no more",)
            waveform_N = waveform_N[: round(self.longest_s * rate)]
        return Prepared(
            tensors={"waveform": waveform_N}, tokens=0, seconds=len(waveform_N) / rate, samples=len(waveform_N), notes=notes
        )  # fmt: skip

    @cached_property
    def longest_s(self) -> float:
        """Seconds of sound that the processor does not cut off unasked: it is tried with half a minute and a whole one."""
        rate = self.sampling_rate_hz
        short, long = (_question(_item("audio", round(seconds * rate))) for seconds in (_SHORT_S, _LONG_S))
        try:
            more = self.count(self.inputs(long), "audio") > 1.5 * self.count(self.inputs(short), "audio")
        except MediaError:
            more = False
        return self.max_seconds if more else _SHORT_S

    def prompt(self, conversation: Conversation, clips: Sequence[OpenedMedia]) -> list[dict[str, Any]]:
        """Messages as chat templates take them; clips are numbered where there are several."""
        opened, out = iter(enumerate(clips, 1)), []
        for message in conversation.messages:
            content: list[dict[str, Any]] = []
            for part in message.parts:
                content += self._shown(*next(opened), len(clips) > 1) if isinstance(part, Media) else [self._said(part)]
            plain = self._plain and all(p["type"] == "text" for p in content)
            out.append({"role": message.role, "content": "".join(p["text"] for p in content) if plain else content})
        return out

    def _said(self, text: str) -> dict[str, Any]:
        """A text without control tokens as a content part."""
        for token in self._control:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return _text(text)

    def _shown(self, number: int, clip: OpenedMedia, several: bool) -> list[dict[str, Any]]:
        """Content parts of one clip: its pictures, its sound, its timed words."""
        parts = [_text(f"clip {number}: ")] if several else []
        if "video" in clip.streams:
            parts += [{"type": "image", "image": Image.fromarray(f)} for f in clip.streams["video"].tensors["frames"].numpy()]
        if "audio" in clip.streams:
            parts.append({"type": "audio", "audio": clip.streams["audio"].tensors["waveform"].numpy()})
        return parts + [self._said(stamped(line).text) for line in clip.shown_lines]

    def inputs(self, messages: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Tensors of a prompt, up to where the answer begins.

        Raises:
            MediaError: the model's processor does not take it.
        """
        try:
            found = self.own.apply_chat_template(
                list(messages), tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
            )  # fmt: skip
        except Exception as error:  # processors raise plain Exceptions for what they do not take
            remedy = "show fewer or shorter clips, or mute what it does not take."
            raise MediaError(f"{type(self.own).__name__} does not take this: {_line(error)};", remedy=remedy) from error
        return {k: v for k, v in found.items() if isinstance(v, Tensor)}

    def count(self, inputs: Mapping[str, Tensor], stream: str) -> int:
        """Tokens of a stream in a prompt."""
        return int((inputs["input_ids"] == self.placeholders[stream]).sum())

    def answer_ids(self, messages: Sequence[Mapping[str, Any]], answer: str, ends: Sequence[int]) -> list[int]:
        """Ids of an answer as the template writes it after a prompt, and of the one among `ends` that it writes behind it."""
        said = {"role": "assistant", "content": answer if self._plain else [_text(answer)]}
        before = str(self.own.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))
        whole = str(self.own.apply_chat_template([*messages, said], tokenize=False))
        gap = whole[len(before) :].partition(answer)[0] if whole.startswith(before) else ""
        tokenizer = self.own.tokenizer
        text = f"{gap}{answer}" if gap.isspace() else answer
        behind = tokenizer(whole.rpartition(answer)[2], add_special_tokens=False)["input_ids"]
        end = next((id for id in behind if id in ends), ends[0])
        return [*tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"], end]


def _item(stream: str, samples: int) -> dict[str, Any]:
    """A content part to try a processor with: a grey picture, or silence."""
    grey = {"type": "image", "image": Image.new("RGB", (224, 224), "grey")}
    return {"type": "audio", "audio": np.zeros(samples, np.float32)} if stream == "audio" else grey


def _question(item: dict[str, Any]) -> list[dict[str, Any]]:
    """A conversation about one item."""
    return [{"role": "user", "content": [item, _text(_MARK)]}]


def _text(text: str) -> dict[str, Any]:
    """A content part."""
    return {"type": "text", "text": text}
