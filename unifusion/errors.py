"""The tree of errors that UniFusion-X raises on purpose.

Every message says what was found, what was wanted and how to mend it; the command line prints it in one line
and ends with the class's `exit_code`.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DatasetError",
    "Interrupted",
    "LayoutError",
    "LimitError",
    "MediaError",
    "PromptError",
    "UniFusionError",
    "nearest",
]


class UniFusionError(Exception):
    """Base class.

    Args:
        found: what was found, with the file, key or value quoted.
        remedy: what to do about it; shown after the finding.
    """

    exit_code = 1

    def __init__(self, found: str, *, remedy: str = "") -> None:
        self.found = found
        self.remedy = remedy
        super().__init__(f"{found} {remedy}".strip())

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the remedy when the error crosses a process border (the media worker does that)."""
        return _rebuild, (type(self), self.found, self.remedy)


def _rebuild(kind: type[UniFusionError], found: str, remedy: str) -> UniFusionError:
    """Make the error again on the other side of a pipe."""
    return kind(found, remedy=remedy)


class ConfigError(UniFusionError):
    """A choice (flag, key, name) that does not exist or does not fit."""

    exit_code = 2


class PromptError(ConfigError):
    """A prompt template that cannot be used."""


class DatasetError(ConfigError):
    """Annotations or a folder that do not lie as the format says."""


class LayoutError(DatasetError):
    """The files of a set are not there, or have other columns: the folder may well be another set's."""


class MediaError(UniFusionError):
    """A file that cannot be decoded; names the file and the span."""

    exit_code = 3


class NoStreamError(MediaError):
    """A clip was read, and holds nothing that any stream of the model takes."""


class LimitError(MediaError):
    """An input above a limit of `limits.Limits`."""


class CheckpointError(UniFusionError):
    """A checkpoint that cannot be loaded or saved."""

    exit_code = 4


class Interrupted(UniFusionError):
    """A run that a signal ended after it had saved itself.

    Args:
        found: what was saved.
        number: of the signal; the exit code is 128 more, as a shell has it.
        remedy: how to go on.
    """

    def __init__(self, found: str, *, number: int = 15, remedy: str = "") -> None:
        super().__init__(found, remedy=remedy)
        self.exit_code = 128 + number


def nearest(name: str, known: list[str]) -> str:
    """Return "did you mean 'x'? known: a, b, x" for an unknown `name`."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}known: {', '.join(sorted(known))}"
