"""UniFusionProcessor: Conversations -> Batch, for training, chat and evaluation alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import ProcessorMixin

from unifusion.conversation import Conversation
from unifusion.errors import ConfigError, UniFusionError
from unifusion.limits import Limits
from unifusion.processor.chat_format import ChatFormat
from unifusion.processor.conversing import IGNORED, Batch, Conversing, Row, check_limits, padded
from unifusion.processor.fitting import Fitting, fit_pieces
from unifusion.processor.layout import Spoken, lay_out, placeholder
from unifusion.processor.messages import to_conversation
from unifusion.processor.opening import MediaOpener, OpenedMedia
from unifusion.processor.streams import FusedSpec, StreamSpec, in_order, stems_only
from unifusion.processor.text import TextEncoder

__all__ = ["IGNORED", "Batch", "Row", "UniFusionProcessor"]

_FILES = "streams"


class UniFusionProcessor(Conversing, ProcessorMixin):
    """Opens media, lays out placeholders and tokenises, one segment at a time.

    Args:
        tokenizer: the language model's tokenizer; placeholders and control tokens are added to it.
        streams: stream name -> StreamSpec (or its dict).
        chat_format: control strings; None finds them in the tokenizer's own chat template.
        window_s: length of one window of the shared clock, in seconds.
        max_seconds: longest span of a clip shown to the model.
        chat_template: kept for tools that read chat_template.jinja; never used here.
        stream_order: order of `streams`, written beside them since JSON is written with sorted keys.
        fused: name -> FusedSpec (or its dict): tokens from several streams together, laid out before the windows.
    """

    def __init__(
        self, tokenizer: Any = None, streams: Mapping[str, Any] | None = None, chat_format: Mapping[str, Any] | None = None,
        window_s: float = 1.0, max_seconds: float = 60.0, chat_template: str | None = None, stream_order: list[str] | None = None,
        fused: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.specs = {name: StreamSpec.from_dict(raw) for name, raw in in_order(dict(streams or {}), stream_order).items()}
        self.stream_order = list(self.specs)
        self.streams = {name: spec.to_dict() for name, spec in self.specs.items()}
        self.fusions = {name: FusedSpec.from_dict(raw).check(name, self.specs) for name, raw in (fused or {}).items()}
        self.fused = {name: spec.to_dict() for name, spec in self.fusions.items()}
        self.format = ChatFormat.from_dict(dict(chat_format)) if chat_format else ChatFormat.from_tokenizer(tokenizer)
        self.chat_format = self.format.to_dict()
        self.window_s = window_s
        self.max_seconds = max_seconds
        super().__init__(tokenizer, chat_template=chat_template or self.format.jinja())
        tokens = [placeholder(name) for name in (*self.specs, *self.fusions)]
        control = ChatFormat.SPECIAL if self.format == ChatFormat() else ()
        tokenizer.add_special_tokens({"additional_special_tokens": [*control, *tokens]}, replace_extra_special_tokens=False)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token or self.format.assistant_end
        self.text = TextEncoder(tokenizer, tokens)
        self.placeholder_ids = {name: int(tokenizer.convert_tokens_to_ids(placeholder(name))) for name in (*self.specs, *self.fusions)}
        self.limits = Limits()
        self.opener = MediaOpener(self.specs, max_seconds=max_seconds)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        """Read the processor of a checkpoint; code that a tokenizer's files may name is never run unless the caller says so.

        A text stream's tokenizer is read from the folder's `streams/<name>`, where there is one, and not from its source.
        """
        kwargs.setdefault("trust_remote_code", False)
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        for name, spec in processor.specs.items():
            files = Path(pretrained_model_name_or_path) / _FILES / Path(name).name
            if files.is_dir():
                spec.read_from(files)
        return processor

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        """Write the processor, and under `streams/<name>` what opening that stream needs beside its choices."""
        for name, spec in self.specs.items():
            spec.encoder_class.save_files(spec.opening_choices, Path(save_directory) / _FILES / Path(name).name)
        return super().save_pretrained(save_directory, *args, **kwargs)

    @classmethod
    def from_args_and_dict(cls, args: Any, processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build from what processor_config.json holds.

        Raises:
            CheckpointError: a stream names something else than a stem of the catalog.
        """
        stems_only(processor_dict.get("streams"), "processor_config.json")
        stems_only(processor_dict.get("fused"), "processor_config.json")
        return super().from_args_and_dict(args, processor_dict, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        """Keys of a batch."""
        return ["input_ids", "attention_mask", "media"]

    def fit(
        self, conversation: Conversation, max_tokens: int, *, opened: Sequence[OpenedMedia] | None = None, generate: bool = False
    ) -> Row:  # fmt: skip
        """Like `row`, made to have at most `max_tokens`: clips are shown more coarsely over their whole span, then text is cut.

        What was left out stands in `Row.fitted` (see there) and in the notes of the report.

        Raises:
            LimitError: what may not be cut (answers, control strings, a window of each clip) is still too long; names the conversation.
        """
        check_limits(conversation, self.limits)
        clips = list(opened) if opened is not None else [self.open(m) for m in conversation.media]
        written = list(self.pieces(conversation, generate=generate))

        def shown(number: int, clip: OpenedMedia) -> list[int]:
            """One clip's tokens."""
            row = Row()
            self.add_media(row, clip, number + 1 if len(clips) > 1 else None)
            return row.ids

        how = Fitting(
            pieces=lambda some: (p if p.clip is None else replace(p, ids=shown(p.clip, some[p.clip])) for p in written),
            shown=lambda number, clip: len(shown(number, clip)),
            encode=self.text.user, specs=self.specs, window_s=self.window_s,
        )  # fmt: skip
        most = min(max_tokens, self.limits.max_tokens)
        pieces, media, fitted = fit_pieces(how, clips, most, conversation.id or "(unnamed)")
        row = Row(media=media, id=conversation.id, fitted=fitted)
        for piece in pieces:
            row.append(piece)
        return row

    def add_media(self, row: Row, clip: OpenedMedia, number: int | None) -> None:
        """Append stamps, placeholders and stamped words of one clip; `number` is told when a conversation has several."""
        row.starts.append(len(row.ids))
        fused = [(name, f.n_tokens) for name, f in self.fusions.items() if any(s in clip.streams for s in f.of)]
        for piece in lay_out(clip, window_s=self.window_s, number=number, fused=fused):
            if isinstance(piece, Spoken):
                row.add(self.text.user(piece.text))
            else:
                row.add(self.text.control(piece) if isinstance(piece, str) else [self.placeholder_ids[piece[0]]] * piece[1])

    def collate(self, rows: Sequence[Row], *, side: Literal["left", "right"] = "right", start: int = 0) -> Batch:
        """Pad rows into one batch; media of all rows in order, each stream apart.

        Args:
            rows: conversations.
            side: where padding goes.
            start: leave out what lies before this position of each row, and clips that begin there: a cache holds them.
        """
        rows = [row.since(start) for row in rows] if start else rows
        found = padded(rows, self.tokenizer.pad_token_id, side)
        labels = found.pop("labels")
        data: dict[str, Any] = {**found, "media": self.media(rows)}
        if any(label != IGNORED for r in rows for label in r.labels):
            data["labels"] = labels
        batch = Batch(data)
        batch.reports = [r.report for r in rows]
        return batch

    def media(self, rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
        """The clips of all rows as StreamBatches, stream by stream, and which of them belong together for each fusion."""
        return collate_media(rows, list(self.specs), {name: f.of for name, f in self.fusions.items()})

    def __call__(
        self, conversations: Sequence[Conversation] | Conversation, *, generate: bool = False, side: Literal["left", "right"] | None = None
    ) -> Batch:
        """Conversations -> Batch; left padding when `generate`, else right, unless `side` says otherwise."""
        several = [conversations] if isinstance(conversations, Conversation) else conversations
        return self.collate([self.row(c, generate=generate) for c in several], side=side or ("left" if generate else "right"))

    def apply_chat_template(self, conversation: Any, chat_template: str | None = None, **kwargs: Any) -> Any:
        """Hugging Face's door: messages of `{"role", "content"}` dicts, one conversation or a list of them.

        Content parts are `{"type": "video"|"audio"|"image", "path"|"url"|..: file}` and `{"type": "text", "text": ..}`; OpenAI's spellings
        (`video_url`, `input_audio`, `image_url`) are taken too. User text cannot write control tokens, whatever
        `sanitize_control_tokens` says. `tokenize=False` returns the text that the ids stand for.

        Raises:
            ConfigError: a chat template is passed: control strings are fixed by the checkpoint.
        """
        if chat_template is not None and chat_template != self.chat_template:
            raise ConfigError("a chat template cannot be given at call time;", remedy="build the processor with chat_format=... instead.")
        batched = bool(conversation) and isinstance(conversation[0], list | tuple)
        talks = [to_conversation(c) for c in (conversation if batched else [conversation])]
        generate = kwargs.get("add_generation_prompt", False)
        rows = [self.row(t, generate=generate) for t in talks]
        if not kwargs.get("tokenize", True):
            texts = [self.tokenizer.decode(r.ids) for r in rows]
            return texts if batched else texts[0]
        batch = self.collate(rows, side=kwargs.get("padding_side") or ("left" if generate else "right"))
        if kwargs.get("return_assistant_tokens_mask"):
            batch["assistant_masks"] = (batch["labels"] != IGNORED).long() if "labels" in batch else torch.zeros_like(batch["input_ids"])
        if kwargs.get("return_dict", True):
            return batch
        return batch["input_ids"] if batched else batch["input_ids"][0]

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """Decode ids of several rows."""
        return list(self.tokenizer.batch_decode(*args, **kwargs))

    def decode(self, *args: Any, **kwargs: Any) -> str:
        """Decode one row's ids."""
        return str(self.tokenizer.decode(*args, **kwargs))


def collate_media(
    rows: Sequence[Row], streams: Sequence[str], fused: Mapping[str, Sequence[str]] | None = None
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Concatenate the clips of all rows, stream by stream, into StreamBatches.

    A fusion (name -> its streams) gets, for each clip that has one of them, `rows` (M,) and per stream `of_<stream>` (M,): which of
    that stream's clips it is, -1 where it lacks the stream.
    """
    out: dict[str, dict[str, Any]] = {}
    clips = [(i, clip) for i, row in enumerate(rows) for clip in row.media]
    for name, parts in (fused or {}).items():
        some = [n for n, (_, clip) in enumerate(clips) if any(s in clip.streams for s in parts)]
        if some:
            out[name] = {"rows": torch.tensor([clips[n][0] for n in some])}
            for stream in parts:
                order = {n: k for k, n in enumerate(n for n, (_, clip) in enumerate(clips) if stream in clip.streams)}
                out[name][f"of_{stream}"] = torch.tensor([order.get(n, -1) for n in some])
    for name in streams:
        found = [(i, clip.streams[name]) for i, clip in clips if name in clip.streams]
        if not found:
            continue
        items = [item for _, item in found]
        longest = max(len(item.times_S) for item in items)
        times = torch.zeros(len(items), longest)
        mask = torch.zeros(len(items), longest, dtype=torch.bool)
        for i, item in enumerate(items):
            times[i, : len(item.times_S)] = item.times_S
            mask[i, : len(item.mask_S)] = item.mask_S
        batch: dict[str, Any] = {"rows": torch.tensor([i for i, _ in found]), "times": times, "mask": mask}
        if all(item.tokens_SD is not None for item in items):
            stored = [item.tokens_SD for item in items if item.tokens_SD is not None]
            batch["tokens"] = torch.nn.utils.rnn.pad_sequence(stored, batch_first=True)
        elif any(item.tokens_SD is not None for item in items):
            raise UniFusionError(
                f"stream {name!r}: some clips of the batch come from the feature store and some do not;", remedy="encode all of them first."
            )
        else:
            batch["chunks"] = torch.tensor([len(next(iter(item.tensors.values()))) for item in items])
            for key in items[0].tensors:
                batch[key] = torch.cat([item.tensors[key] for item in items])
        out[name] = batch
    return out
