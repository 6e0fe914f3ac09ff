"""`unifusion ask`: a question over an index, answered from the moments that were found, with clip and seconds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unifusion.cli import common
from unifusion.errors import ConfigError

if TYPE_CHECKING:
    from unifusion.retrieval.asked import Asked, Generates
    from unifusion.retrieval.llm_answers import Describes

__all__ = ["ask"]

Question = Annotated[str, typer.Argument(metavar="QUESTION", help="What you want to know.", show_default=False)]
Index = Annotated[Path, typer.Option("--index", "-i", metavar="INDEX", help="Folder that unifusion index wrote.")]
Count = Annotated[int, typer.Option("-k", metavar="N", min=1, help="Windows to search for.")]
_THRESHOLD = "Least score of a window that counts; the embedder's own unless told."
Threshold = Annotated[float | None, typer.Option("--threshold", metavar="R", min=-1.0, max=1.0, help=_THRESHOLD, show_default=False)]
Find = Annotated[str | None, typer.Option("--find", metavar="TEXT", help="Search for these words instead of the question's.", show_default=False)]
Filter = Annotated[list[str], typer.Option("--where", metavar="COND", help="label=dog, start_s>=3 or JSON; all hold.", show_default=False)]
Space = Annotated[str, typer.Option("--space", "--by", metavar="NAME", help="What is compared: clip, or video, audio, text alone.")]
Together = Annotated[bool, typer.Option("--together", help="Show the chat model all windows at once; for large ones.")]
NoWords = Annotated[bool, typer.Option("--no-words", help="Show it picture and sound alone, without transcripts and captions.")]
Llm = Annotated[str | None, typer.Option("--llm", metavar="DIR", help="A language model answers, from words alone.", show_default=False)]
Endpoint = Annotated[str | None, typer.Option("--endpoint", metavar="URL", help="An OpenAI-compatible server answers.", show_default=False)]
EndpointModel = Annotated[str, typer.Option("--endpoint-model", metavar="NAME", help="Its model.", show_default=False)]
_KEY = "Environment variable that holds its key; none is sent without."
KeyEnv = Annotated[str | None, typer.Option("--endpoint-key-env", metavar="VAR", help=_KEY, show_default=False)]
Timeout = Annotated[float, typer.Option("--endpoint-timeout", metavar="S", min=0.1, help="Seconds to wait for it.")]
Send = Annotated[str, typer.Option("--send-media", metavar="KINDS", help="Send it image, audio or both (image,audio), too.", show_default=False)]
Describe = Annotated[bool, typer.Option("--describe", help="Let the chat model write what is seen and heard, for --llm and --endpoint.")]
NewTokens = Annotated[int | None, typer.Option("--max-new-tokens", metavar="N", min=1, help="Longest answer in tokens.", show_default=False)]


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
    no_words: NoWords = False,
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
    json: common.Json = False,
) -> None:
    """Answer a question from what is found in an index, with the clip and the seconds that each statement rests on.

    Picture, sound and words of the windows go to a chat model, or (--llm, --endpoint) their words to another one.
    """
    _fitting(llm, endpoint, together or no_words, describe, send_media)
    key = _key(endpoint_key_env)

    def generator() -> Generates:
        """What answers; loaded when something was found."""
        engine = None if (llm or endpoint) and not describe else common.load_engine(model, isolate=isolate, lenient=lenient, device=device)
        options = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
        if engine is not None and not (llm or endpoint):
            from unifusion.retrieval.chat_answers import ChatAnswers

            return ChatAnswers(engine=engine, label=Path(model).name, together=together, words=not no_words, **options)
        describes = None if engine is None else _describes(engine)
        longest = {} if engine is None else {"longest_s": float(engine.processor.opener.max_seconds)}
        if llm:
            from unifusion.retrieval.llm_answers import LlmAnswers

            common.quiet_libraries()
            return LlmAnswers.load(llm, device=common.device_of(device), describes=describes, **options, **longest)
        from unifusion.retrieval.endpoint_answers import EndpointAnswers
        from unifusion.retrieval.wire import Wire

        wire = Wire(url=endpoint or "", key=key, timeout_s=endpoint_timeout)
        sends = tuple(kind.strip() for kind in send_media.split(",") if kind.strip())
        return EndpointAnswers(wire=wire, model=endpoint_model, sends=sends, describes=describes, isolate=isolate, **options, **longest)

    with common.quiet_stdout():
        asked = _asked(question, index, generator, k=k, threshold=threshold, find=find, where=where, space=space, device=device, isolate=isolate)
    if json:
        common.print_json({"index": str(index), **asked.to_dict()})
    else:
        _tell(asked)
