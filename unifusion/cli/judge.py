"""`unifusion judge`: a language model behind an OpenAI-compatible server judges the answers of a file of predictions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from unifusion.cli import common
from unifusion.errors import ConfigError

__all__ = ["judge"]

Predictions = Annotated[Path, typer.Argument(metavar="PREDICTIONS.jsonl", help="Rows with question, answer and truth.", show_default=False)]
Endpoint = Annotated[str, typer.Option("--endpoint", metavar="URL", help="The server, like http://localhost:8000/v1.", show_default=False)]
EndpointModel = Annotated[str, typer.Option("--endpoint-model", metavar="NAME", help="Its model.", show_default=False)]
_KEY = "Environment variable that holds its key; none is sent without."
KeyEnv = Annotated[str | None, typer.Option("--endpoint-key-env", metavar="VAR", help=_KEY, show_default=False)]
Timeout = Annotated[float, typer.Option("--endpoint-timeout", metavar="S", min=0.1, help="Seconds to wait for it.")]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="JUDGED.jsonl", help="Where the rows with verdicts go.", show_default=False)]
_AGAINST = "Other answers to the same questions: which are better, asked in both orders."
Against = Annotated[Path | None, typer.Option("--against", metavar="OTHER.jsonl", help=_AGAINST, show_default=False)]
_PROMPT = "What it is asked; Video-ChatGPT's wording unless told."
Prompt = Annotated[Path | None, typer.Option("--prompt", metavar="FILE.yaml", help=_PROMPT, show_default=False)]
_CACHE = "Verdicts that are kept; JUDGED.jsonl.cache.jsonl unless told."
Cache = Annotated[Path | None, typer.Option("--cache", metavar="FILE", help=_CACHE, show_default=False)]
MaxTokens = Annotated[int, typer.Option("--max-tokens", metavar="N", min=1, help="Longest reply; a judge that reasons first needs more.")]
_BODY = "Further fields of requests, such as '{seed: 0}'; null takes one away."
Body = Annotated[str, typer.Option("--endpoint-body", metavar="'{KEY: VALUE, ..}'", help=_BODY, show_default=False)]
Concurrency = Annotated[int, typer.Option("--concurrency", metavar="N", min=1, max=64, help="Requests at a time.")]


def judge(
    predictions: Predictions,
    endpoint: Endpoint,
    endpoint_model: EndpointModel,
    out: Out,
    endpoint_key_env: KeyEnv = None,
    endpoint_timeout: Timeout = 120.0,
    against: Against = None,
    prompt: Prompt = None,
    cache: Cache = None,
    concurrency: Concurrency = 4,
    max_tokens: MaxTokens = 256,
    endpoint_body: Body = "{}",
    json: common.Json = False,
) -> None:
    """Let a language model judge answers: right or not and a score, or which of two is better.

    The judge's name, version and wording are kept with the figures; what it fails to judge is counted apart.

    What was judged once is not asked again: the same command goes on where it stopped.
    """
    from unifusion.evaluation.judge import Judge
    from unifusion.evaluation.judge_cache import VerdictCache
    from unifusion.evaluation.judge_prompt import ANSWERS, PAIRS, read_judge_prompt
    from unifusion.evaluation.judge_run import judge_file, judge_files
    from unifusion.wire import Wire

    key = None
    if endpoint_key_env is not None and not (key := os.environ.get(endpoint_key_env, "").strip()):
        raise ConfigError(f"the environment variable {endpoint_key_env} is empty;", remedy="put the endpoint's key into it.")
    wire = Wire(url=endpoint, key=key, timeout_s=endpoint_timeout)
    body = _fields(endpoint_body)
    asked = read_judge_prompt(prompt or (ANSWERS if against is None else PAIRS))
    with VerdictCache.open(cache or out.with_name(out.name + ".cache.jsonl")) as kept:
        options = {"concurrency": concurrency, "max_tokens": max_tokens, "body": body}
        model = Judge(wire=wire, model=endpoint_model, prompt=asked, cache=kept, **options)  # type: ignore[arg-type]
        results = judge_file(predictions, out, model) if against is None else judge_files(predictions, against, out, model)
    if json:
        common.print_json(results)
    else:
        _tell(results)


def _fields(text: str) -> dict[str, Any]:
    """Keys and values.

    Raises:
        ConfigError: it holds something else.
    """
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"--endpoint-body {text!r:.80} holds no keys and values;", remedy="write it like '{seed: 0}'.")
    return found


def _tell(results: dict[str, Any]) -> None:
    """Print the figures."""
    for name, sums in {"all": results["all"], **results["groups"]}.items():
        failed = sum(sums["failed"].values())
        parts = [f"{sums['judged']} judged", f"{failed} failed", *([f"{sums['unanswered']} unanswered"] if sums.get("unanswered") else [])]
        keys = ("accuracy", "score", "first", "second", "tie", "consistent", "first_shown")
        told = ", ".join(f"{key.replace('_', ' ')} {sums[key]:.3f}" for key in keys if sums.get(key) is not None)
        typer.echo(common.visible(f"{name}: {told or 'nothing'} ({', '.join(parts)})"))
    by = results["judge"]
    versions = f" ({', '.join(by['versions'])})" if by["versions"] else ""
    common.note(f"[{by['model']}{versions} at {by['host']}; prompt {by['prompt']['name']} {by['prompt']['sha256'][:12]}]")
