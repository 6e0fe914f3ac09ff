"""`unifusion ask`: a question over an index, answered from the moments that were found, with clip and seconds."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unifusion.cli import common
from unifusion.errors import ConfigError

if TYPE_CHECKING:
    from unifusion.retrieval.asked import Asked, Generates

__all__ = ["ask"]

Question = Annotated[str, typer.Argument(metavar="QUESTION", help="What you want to know.", show_default=False)]
Index = Annotated[Path, typer.Option("--index", "-i", metavar="INDEX", help="Folder that unifusion index wrote.")]
Count = Annotated[int, typer.Option("-k", metavar="N", min=1, help="Windows to search for.")]
_THRESHOLD = "Least score of a window that counts; the embedder's own unless told."
Threshold = Annotated[float | None, typer.Option("--threshold", metavar="R", min=-1.0, max=1.0, help=_THRESHOLD, show_default=False)]
Find = Annotated[str | None, typer.Option("--find", metavar="TEXT", help="Search for these words instead.", show_default=False)]
Filter = Annotated[list[str], typer.Option("--where", metavar="COND", help="label=dog, start_s>=3 or JSON; all hold.", show_default=False)]
Space = Annotated[str, typer.Option("--space", "--by", metavar="NAME", help="What is compared: clip, or video, audio, text alone.")]
Together = Annotated[bool, typer.Option("--together", help="Show the chat model all windows at once; for large ones.")]
_WORDS = "Words it reads too: none, transcript (the default for each window by itself) or all (for --together)."
Words = Annotated[str, typer.Option("--words", metavar="KIND", help=_WORDS, show_default=False)]
Llm = Annotated[str | None, typer.Option("--llm", metavar="DIR", help="A language model answers, from words alone.", show_default=False)]
Endpoint = Annotated[str | None, typer.Option("--endpoint", metavar="URL", help="An OpenAI-compatible server answers.", show_default=False)]
EndpointModel = Annotated[str, typer.Option("--endpoint-model", metavar="NAME", help="Its model.", show_default=False)]
_KEY = "Environment variable that holds its key; none is sent without."
KeyEnv = Annotated[str | None, typer.Option("--endpoint-key-env", metavar="VAR", help=_KEY, show_default=False)]
Timeout = Annotated[float, typer.Option("--endpoint-timeout", metavar="S", min=0.1, help="Seconds to wait for it.")]
Send = Annotated[str, typer.Option("--send-media", metavar="KINDS", help="Send it image, audio, or image,audio too.", show_default=False)]
Describe = Annotated[bool, typer.Option("--describe", help="Let the chat model write what is seen and heard, for --llm and --endpoint.")]
_STREAM = "Show it as it is made; so it is on a terminal."
Stream = Annotated[bool | None, typer.Option("--stream/--no-stream", help=_STREAM, show_default=False)]
NewTokens = Annotated[int | None, typer.Option("--max-new-tokens", metavar="N", min=1, help="Longest answer.", show_default=False)]


def ask(
    question: Question,
    index: Index,
    k: Count = 4,
    threshold: Threshold = None,
    find: Find = None,
    where: Filter = [],  # noqa: B006 - Typer copies it
    space: Space = "clip",
    model: common.Model = common.DEFAULT_MODEL,
    together: Together = False,
    words: Words = "",
    llm: Llm = None,
    endpoint: Endpoint = None,
    endpoint_model: EndpointModel = "",
    endpoint_key_env: KeyEnv = None,
    endpoint_timeout: Timeout = 120.0,
    send_media: Send = "",
    describe: Describe = False,
    max_new_tokens: NewTokens = None,
    isolate: common.Isolate = False,
    lenient: common.Lenient = False,
    device: common.Device = "",
    stream: Stream = None,
    json: common.Json = False,
) -> None:
    """Answer a question from what is found in an index, with the clip and the seconds that each statement rests on.

    Picture, sound and words of the windows go to a chat model, or (--llm, --endpoint) their words to another one.
    """
    how = _How(
        model=model, together=together, words=words, llm=llm, endpoint=endpoint, endpoint_model=endpoint_model,
        key_env=endpoint_key_env, timeout_s=endpoint_timeout, sends=tuple(kind.strip() for kind in send_media.split(",") if kind.strip()),
        describe=describe, max_new_tokens=max_new_tokens, isolate=isolate, lenient=lenient, device=device,
    )  # fmt: skip
    how.check()
    if stream and json:
        raise typer.BadParameter("--stream is for people; leave it out with --json.")
    out, shows = sys.stdout, sys.stdout.isatty() if stream is None else stream
    with common.quiet_stdout():
        from unifusion.cli.index import loader
        from unifusion.cli.listening import Listener
        from unifusion.retrieval.ask import Asker
        from unifusion.retrieval.filters import where_of
        from unifusion.retrieval.layout import read_manifest
        from unifusion.retrieval.library import Library
        from unifusion.retrieval.wording import checked

        source = read_manifest(index).embedder.source
        library = Library.open(index, load=lambda: loader(device, isolate, lenient)(source))
        asker = Asker(library=library, generator=how.made, k=k, threshold=threshold)
        question = checked(question)
        retrieved = asker.find(question if find is None else find, where=where_of(where), space=space)
        if retrieved.used:
            asker.answers  # noqa: B018 - what answers is loaded; an interrupt ends that
        listener = Listener(out=out) if shows and not json else None
        with common.interrupt_sets(listener.cancel) if listener else contextlib.nullcontext():
            asked = asker.over(question, retrieved, live=listener)
    if json:
        common.print_json({"index": str(index), **asked.to_dict()})
    else:
        _tell(asked, asked.answer if listener is None else listener.rest(asked.answer))


@dataclass(frozen=True, kw_only=True)
class _How:
    """What answers, as the options have it."""

    model: str
    together: bool
    words: str
    llm: str | None
    endpoint: str | None
    endpoint_model: str
    key_env: str | None
    timeout_s: float
    sends: tuple[str, ...]
    describe: bool
    max_new_tokens: int | None
    isolate: bool
    lenient: bool
    device: str

    @property
    def limit(self) -> dict[str, Any]:
        """The longest answer, where it was told."""
        return {} if self.max_new_tokens is None else {"max_new_tokens": self.max_new_tokens}

    def check(self) -> None:
        """Refuse options that do not go together, before anything is loaded or searched.

        Raises:
            typer.BadParameter: they do not.
            ConfigError: the endpoint, its key or what is sent to it is not as it should be.
        """
        other = self.llm is not None or self.endpoint is not None
        if self.llm is not None and self.endpoint is not None:
            raise typer.BadParameter("--llm and --endpoint: one of them answers.")
        if other and (self.together or self.words):
            raise typer.BadParameter("--together and --words are about the chat model; leave them out with --llm and --endpoint.")
        if self.words and self.words not in ("none", "transcript", "all"):
            raise typer.BadParameter(f"--words {self.words}: none, transcript or all.")
        if self.describe and not other:
            raise typer.BadParameter("--describe is for --llm and --endpoint; the chat model sees and hears by itself.")
        if self.endpoint is None and (self.endpoint_model or self.key_env or self.sends):
            raise typer.BadParameter("--endpoint-model, --endpoint-key-env and --send-media need --endpoint URL.")
        if self.endpoint is not None:
            self._server()

    def made(self) -> Generates:
        """What answers, loaded.

        Raises:
            CheckpointError: it cannot be.
        """
        engine = None
        if self.describe or not (self.llm or self.endpoint):
            engine = common.load_engine(self.model, isolate=self.isolate, lenient=self.lenient, device=self.device)
        if engine is not None and not (self.llm or self.endpoint):
            from unifusion.retrieval.chat_answers import ChatAnswers

            return ChatAnswers(engine=engine, label=Path(self.model).name, together=self.together, words=self.words, **self.limit)
        told: dict[str, Any] = {}
        if engine is not None:
            from unifusion.retrieval.chat_answers import describe

            told = {"describes": partial(describe, engine), "longest_s": float(engine.processor.opener.max_seconds)}
        if self.llm is not None:
            from unifusion.retrieval.llm_answers import LlmAnswers

            common.quiet_libraries()
            return LlmAnswers.load(self.llm, device=common.device_of(self.device), **told, **self.limit)
        return self._server(**told, **self.limit)

    def _server(self, **options: Any) -> Generates:
        """The endpoint.

        Raises:
            ConfigError: its address, its model, its key or what is sent to it is not as it should be.
        """
        from unifusion.retrieval.endpoint_answers import EndpointAnswers
        from unifusion.wire import Wire

        key = None
        if self.key_env is not None and not (key := os.environ.get(self.key_env, "").strip()):
            raise ConfigError(f"the environment variable {self.key_env} is empty;", remedy="put the endpoint's key into it.")
        wire = Wire(url=self.endpoint or "", key=key, timeout_s=self.timeout_s)
        return EndpointAnswers(wire=wire, model=self.endpoint_model, sends=self.sends, isolate=self.isolate, **options)


def _tell(asked: Asked, unsaid: str) -> None:
    """Print what was not said yet of the answer, then what it was made from."""
    typer.echo(common.visible(unsaid))
    if asked.passages:
        typer.echo()
        for line in _table(asked):
            typer.echo(common.visible(line))
    judged = "not judged" if asked.threshold is None else f"relevant from {asked.threshold:.3f}"
    below = f", {asked.below} more below it" if asked.below else ""
    if asked.generator:
        common.note(f"[{asked.generator}; {judged}{below}; {sum(asked.timing.values()):.1f} s]")
    for text in [*asked.notes, *(asked.report.notes if not asked.reports else [])]:
        common.note(text)


def _table(asked: Asked) -> list[str]:
    """A line for each window that was used: cited or not, score, where it is, and what was seen and heard of it."""
    from unifusion.retrieval.passages import place

    cited = {number for citation in asked.citations for number in citation.numbers}
    places = [place(p.name, p.start_s, p.end_s) for p in asked.passages]
    wide = min(60, max(map(len, places)))
    lines = [f"   cited  score   {'window':{wide}}  seen and heard"]
    for p, where in zip(asked.passages, places, strict=True):
        seen = asked.reports[p.number].summary() if p.number in asked.reports else "words alone" if p.texts else "nothing"
        lines.append(f"{p.number:2}  {'yes' if p.number in cited else '':4}  {p.score:6.3f}  {where:{wide}}  {seen}")
    return lines
