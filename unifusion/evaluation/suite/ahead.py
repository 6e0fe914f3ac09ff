"""Clips opened by other processes while the model answers about those before them."""

from __future__ import annotations

import logging
import signal
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unifusion.conversation import Media
from unifusion.errors import ConfigError, UniFusionError
from unifusion.processor import OpenedMedia
from unifusion.training.loader import no_child_signals

__all__ = ["Ahead"]

log = logging.getLogger(__name__)
Opens = Callable[[Media], OpenedMedia]
_CLIPS = 4
"""That each process opens before they are asked for."""


class Ahead:
    """Opens clips in the order in which they will be asked for, in other processes.

    A clip is the same wherever it was opened. One that cannot be opened there, or was not told of, is opened here, so that whatever is
    wrong is said once and here; so are all, when a process dies.

    Args:
        opens: opens a clip, the same in any process.
        workers: processes; 0 opens each clip here when it is asked for.
        timeout_s: longest wait for a clip, after which all are opened here.

    Raises:
        ConfigError: fewer than none.
    """

    def __init__(self, opens: Opens, *, workers: int, timeout_s: float = 120.0) -> None:
        if workers < 0:
            raise ConfigError(f"{workers} workers cannot open clips;", remedy="take 0 or more.")
        self.opens, self.workers, self.timeout_s = opens, workers, timeout_s
        self._coming: Iterator[OpenedMedia | None] = iter(())
        self._told: deque[Media] = deque()
        self._waiting: dict[Media, OpenedMedia | None] = {}

    def over(self, clips: Iterator[Media]) -> None:
        """Begin with the clips that will be asked for; what is left of others is let go."""
        self._told.clear()
        self.forget()
        if self.workers:
            loader: DataLoader[OpenedMedia | None] = DataLoader(
                _Opening(self.opens), sampler=self._telling(clips), batch_size=None, num_workers=self.workers,  # type: ignore[arg-type]
                prefetch_factor=_CLIPS, collate_fn=_as_it_is, worker_init_fn=_leave_interrupts, timeout=self.timeout_s,
                generator=torch.Generator().manual_seed(0),  # or it draws from the program's own
            )  # fmt: skip
            with no_child_signals():  # or a process that dies is an error wherever the program is just then
                self._coming = iter(loader)

    def _telling(self, clips: Iterator[Media]) -> Iterator[Media]:
        """The clips, in the order in which they come back."""
        for media in clips:
            self._told.append(media)
            yield media

    def forget(self) -> None:
        """Let go what was opened and not asked for."""
        self._waiting.clear()

    def open(self, media: Media) -> OpenedMedia:
        """A clip, decoded and preprocessed.

        Raises:
            MediaError: it cannot be opened.
        """
        while media not in self._waiting and media in self._told:
            try:
                found = next(self._coming)
            except (RuntimeError, OSError) as error:
                log.warning("a process that opened clips ahead is gone (%s): they are opened one by one from here on", error)
                self._told.clear()
                self._coming = iter(())
                break
            self._waiting[self._told.popleft()] = found
        found = self._waiting.pop(media, None)
        return self.opens(media) if found is None else _each(found, torch.from_numpy)


class _Opening(Dataset[OpenedMedia | None]):
    """Opens whichever clip it is asked for. Arrays come back, since tensors would lie in shared memory, which is short in a container."""

    def __init__(self, opens: Opens) -> None:
        self.opens = opens

    def __getitem__(self, media: Media) -> OpenedMedia | None:
        """The clip, or None where it cannot be opened."""
        try:
            return _each(self.opens(media), Tensor.numpy)
        except UniFusionError:
            return None


def _each(opened: OpenedMedia, change: Callable[[Any], Any]) -> OpenedMedia:
    """A clip with all its tensors, or arrays, changed."""
    streams = {
        name: replace(
            item, times_S=change(item.times_S), mask_S=change(item.mask_S), token_times_Q=change(item.token_times_Q),
            tensors={key: change(value) for key, value in item.tensors.items()},
        )
        for name, item in opened.streams.items()
    }  # fmt: skip
    return replace(opened, streams=streams)


def _as_it_is(item: Any) -> Any:
    """Nothing is put together."""
    return item


def _leave_interrupts(worker: int) -> None:
    """An interrupt ends the run, which ends its workers."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
