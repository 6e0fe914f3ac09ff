"""Systems whose faithfulness is known: one that only listens, one that only looks, one that says the same always."""

import numpy as np

from unifusion.batch import ModalityReport, StreamReport
from unifusion.conversation import Altered, Clip, Example, Media
from unifusion.engine import Answer, LabelScores
from unifusion.errors import MediaError
from unifusion.evaluation.suite.parts import Part, Source

KINDS = ("bark", "bell", "rain")


def clip(name, *, sound=True, picture=True, seconds=1.0):
    frames = np.full((4, 2, 2, 3), KINDS.index(name), np.uint8) if picture else None
    wave = np.full(int(16000 * seconds), (1 + KINDS.index(name)) / 10, np.float32) if sound else None
    return Clip(frames_THWC=frames, frame_times_s=np.arange(4) / 4 if picture else None, waveform_N=wave, duration_s=seconds)


def row(number, kind, *, shown=None, group="", **parts):
    """A row whose sound is of one kind and whose picture is of another, or the same."""
    media = () if parts.get("nothing") else (Media(kind="video", source=clip(kind, **parts)),)
    return Example(id=f"r{number}", media=media, labels={"sound": kind, "shown": shown or kind}, group=group or f"g{number}")


def part(rows, task="sound", labels=KINDS, **changes):
    source = Source(dataset="messages", task=task, **changes)
    return Part(name="toy", source=source, rows=tuple(rows), labels=labels if task in ("sound", "emotion", "emotion_rationale") else None)


def heard(media):
    """The clip whose sound is in one, None where it is muted or has none."""
    source = media.source
    if "audio" in media.mute:
        return None
    if isinstance(source, Altered):
        return heard(source.sound or source.base)
    return source if isinstance(source, Clip) and source.waveform_N is not None else None


def seen(media):
    source = media.source
    if "video" in media.mute:
        return None
    if isinstance(source, Altered):
        return seen(source.picture or source.base)
    return source if isinstance(source, Clip) and source.frames_THWC is not None else None


def kind_heard(media):
    found = heard(media)
    return None if found is None else KINDS[round(float(found.waveform_N[0]) * 10) - 1]


def kind_seen(media):
    found = seen(media)
    return None if found is None else KINDS[int(found.frames_THWC[0, 0, 0, 0])]


class Rule:
    """Answers by a rule over the clips of a question; counts how often it was asked.

    Args:
        rule: media -> words; a raised MediaError is the item's error.
        can_score: tells likelihoods, too.
    """

    name, weights, shown = "rule", "w1", {}

    def __init__(self, rule, *, can_score=True):
        self.rule, self.can_score, self.asked, self.forgot = rule, can_score, [], 0

    def _said(self, conversation):
        self.asked.append(conversation)
        return self.rule(conversation)

    def _report(self, conversation):
        streams = {"audio": StreamReport(modality="audio", present=any(heard(m) is not None for m in conversation.media))}
        return ModalityReport(streams=streams)

    def answer(self, conversations, *, max_new_tokens, batch_size):
        assert max_new_tokens > 0 and batch_size > 0
        out = []
        for conversation in conversations:
            try:
                out.append(Answer(text=self._said(conversation), report=self._report(conversation)))
            except MediaError as error:
                out.append(error)
        return out

    def score_labels(self, conversations, labels, *, task, batch_size):
        out = []
        for conversation, choices in zip(conversations, labels, strict=True):
            try:
                said = self._said(conversation)
            except MediaError as error:
                out.append(error)
                continue
            logs = tuple(0.0 if c == said else -5.0 for c in choices)
            out.append(LabelScores(labels=tuple(choices), log_probs=logs, report=self._report(conversation)))
        return out

    def forget(self):
        self.forgot += 1


def listener(conversation):
    return next((k for m in conversation.media if (k := kind_heard(m))), "bark")


def looker(conversation):
    return next((k for m in conversation.media if (k := kind_seen(m))), "bark")
