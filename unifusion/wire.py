"""Requests to an OpenAI-compatible server: time limits, retries, clear errors. The key goes to that server alone and is never shown."""

from __future__ import annotations

import http.client
import json
import logging
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unifusion.errors import ConfigError, UniFusionError

__all__ = ["EndpointError", "Wire", "answer_of", "with_fields"]

LOG = logging.getLogger(__name__)
_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}
_OF_ONE = {400, 413, 422}
"""What a server says of one request; the next may be another matter."""
_MOST_BYTES = 8 * 1024**2
_LONGEST_WAIT_S = 30.0
_THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_REMEDIES = {
    400: "its message says what it does not take; a server without ears or eyes takes no --send-media.",
    401: "name the environment variable that holds its key: --endpoint-key-env.",
    403: "name the environment variable that holds a key with the right to do this: --endpoint-key-env.",
    404: "the address ends in /v1 with most servers; see its models for --endpoint-model.",
    413: "send less: fewer windows (-k), or no --send-media.",
    422: "its message says what it does not take.",
}


class EndpointError(UniFusionError):
    """A server that cannot be reached, or does not answer as an OpenAI-compatible one does.

    Args:
        found, remedy: as ever.
        again: another attempt may mend it.
        after_s: when the server wants that.
        gone: whatever else is asked will fail, too: no server, no such model, no right to ask it.
    """

    exit_code = 5

    def __init__(self, found: str, *, remedy: str = "", again: bool = False, after_s: float | None = None, gone: bool = False) -> None:
        super().__init__(found, remedy=remedy)
        self.again, self.after_s, self.gone = again, after_s, gone


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key and the clips to another server."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow none."""


@dataclass(frozen=True, kw_only=True)
class Wire:
    """Where a server is and how it is asked.

    Attributes:
        url: such as `http://localhost:8000/v1`.
        key: sent as a bearer token; None sends none.
        timeout_s: of one attempt.
        retries: further attempts after one that another may mend.
        wait_s: before the first of them; doubled for each next one. What the server asks for (Retry-After) goes before, up to 30 s.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    timeout_s: float = 120.0
    retries: int = 3
    wait_s: float = 1.0

    def __post_init__(self) -> None:
        remedy = "give one like http://localhost:8000/v1, the key by --endpoint-key-env."
        try:
            parts = urllib.parse.urlsplit(self.url)
            port_is_one = parts.port is None or parts.port > 0
        except ValueError as error:
            raise ConfigError(f"the endpoint's address is none: {error};", remedy=remedy) from error
        if parts.username or parts.password:
            raise ConfigError("the endpoint's address holds a user or a password;", remedy=remedy)
        if parts.query or parts.fragment:  # often a key; and nothing could be put behind it
            raise ConfigError("the endpoint's address holds more than host and path;", remedy=remedy)
        if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_one:
            raise ConfigError(f"{self.url!r} is no address of a server;", remedy=remedy)
        if self.key is not None and not (self.key.isascii() and self.key.isprintable()):
            raise ConfigError("the key holds characters that no key has;", remedy="see what the environment variable holds.")

    @property
    def host(self) -> str:
        """Name and port of the server."""
        return urllib.parse.urlsplit(self.url).netloc

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send JSON and return the answer's.

        Raises:
            EndpointError: no attempt was answered as it should be.
        """
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        attempt = 0
        while True:
            try:
                return self._attempt(path, data)
            except EndpointError as error:
                if not error.again or attempt >= self.retries:
                    raise
                LOG.info("%s attempt %d of %d follows", error.found, attempt + 2, self.retries + 1)
                time.sleep(min(self.wait_s * 2**attempt if error.after_s is None else error.after_s, _LONGEST_WAIT_S))
                attempt += 1

    def _attempt(self, path: str, data: bytes) -> dict[str, Any]:
        """One attempt."""
        request = urllib.request.Request(self.url.rstrip("/") + path, data=data, method="POST")
        request.add_header("Content-Type", "application/json")
        request.add_header("Accept", "application/json")
        if self.key is not None:
            request.add_unredirected_header("Authorization", f"Bearer {self.key}")
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout_s) as reply:
                return self._read(reply)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                late = f"{self.host} did not answer within {self.timeout_s:g} s;"
                raise EndpointError(late, remedy="allow more: --endpoint-timeout.", again=True, gone=True) from error
            found = f"cannot reach {self.host}: {self._hidden(str(reason) or type(error).__name__)};"
            raise EndpointError(found, remedy="is the server running, and is --endpoint its address?", again=True, gone=True) from error

    def _read(self, reply: Any) -> dict[str, Any]:
        """The body of an answer.

        Raises:
            EndpointError: it is too long, comes too slowly, or is no JSON object.
        """
        pieces, size, until = [], 0, time.monotonic() + self.timeout_s
        while piece := reply.read(1 << 16):
            pieces.append(piece)
            size += len(piece)
            if size > _MOST_BYTES or time.monotonic() > until:
                raise EndpointError(f"{self.host} sends more than {_MOST_BYTES} bytes, or too slowly;", remedy="is it such a server?")
        body = b"".join(pieces)
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            torn = body.lstrip().startswith(b"{")
            remedy = "its answer was cut off on the way." if torn else "the address ends in /v1 with most servers; streams are not read."
            raise EndpointError(f"{self.host} answers no JSON object;", remedy=remedy, again=torn)
        return found

    def _refused(self, error: urllib.error.HTTPError) -> EndpointError:
        """What an answer with an error says."""
        if 300 <= error.code < 400:
            return EndpointError(f"{self.host} sends us elsewhere ({error.code});", remedy="give the address that it means.")
        try:
            told = json.loads(error.read(1 << 16))
        except (ValueError, OSError, RecursionError, http.client.HTTPException):
            told = {}
        inner = told.get("error", told) if isinstance(told, dict) else {}
        message = inner.get("message") if isinstance(inner, dict) else inner
        words = f": {self._hidden(' '.join(message.split()))[:300]}" if isinstance(message, str) else ""
        remedy = _REMEDIES.get(error.code, "try again later." if error.code in _AGAIN else "see the server's log.")
        return EndpointError(
            f"{self.host} answers {error.code}{words};", remedy=remedy, again=error.code in _AGAIN, gone=error.code not in _OF_ONE,
            after_s=_seconds(error.headers.get("Retry-After")),
        )  # fmt: skip

    def _hidden(self, text: str) -> str:
        """Text without the key, which servers like to repeat."""
        return text.replace(self.key, "***") if self.key else text


def with_fields(ours: Mapping[str, Any], further: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request: those that a person adds go before ours, and take one away where they are None."""
    return {key: value for key, value in {**ours, **further}.items() if value is not None}


def answer_of(reply: Mapping[str, Any], name: str) -> tuple[str, bool]:
    """The text of a chat completion, and whether it ended by itself.

    An empty answer is an answer, and so is a refusal; thoughts before an answer (`reasoning_content`, `<think>..</think>`) are not.

    Args:
        reply: of `POST /chat/completions`.
        name: of the model, for errors.

    Raises:
        EndpointError: there is no text.
    """
    try:
        choice = reply["choices"][0]
        message, why = choice["message"], choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise EndpointError(f"{name} answers without a choice;", remedy="is it an OpenAI-compatible server?") from error
    if isinstance(content, list):
        content = "".join(str(p.get("text") or p.get("refusal") or "") for p in content if isinstance(p, dict))
    text = content if isinstance(content, str) and content else refusal if isinstance(refusal, str) else content
    if not isinstance(text, str) or (why == "length" and _THOUGHT.sub("", text).lstrip().startswith("<think>")):
        thought = "allow more tokens, or turn its reasoning off by a field of the request's body (--endpoint-body)."
        remedy = thought if why == "length" else "see the server's log."
        raise EndpointError(f"{name} says nothing (it ended by {why!r});", remedy=remedy)
    return _THOUGHT.sub("", text).strip(), why != "length"


def _seconds(told: str | None) -> float | None:
    """Seconds of a Retry-After header; None where it is a date, or nothing."""
    try:
        seconds = float(told or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
