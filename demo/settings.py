"""Safe settings of the served page: where files lie, who may come in, what a browser may load."""

from __future__ import annotations

import atexit
import ipaddress
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unifusion import Limits
from unifusion.errors import ConfigError

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["LIMITS", "PREVIEWS", "Guard", "check_access", "launch_options", "private_folder", "serve"]

LIMITS = Limits(
    max_bytes=200 * 1024**2,
    max_seconds=3600.0,
    max_span_seconds=120.0,
    max_new_tokens=256,
    max_text_chars=4000,
    max_media=4,
    decode_timeout_s=30.0,
    decode_memory_bytes=3 * 1024**3,
)
"""What one visitor may ask of this machine."""

PREVIEWS = "previews"
"""Folder beside the uploads of what is played of found windows."""
HERE = Path(__file__).resolve().parent
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
"""Gradio's page needs inline scripts and eval; nothing may be loaded from, or sent to, any other machine."""
_HEADERS = {
    b"content-security-policy": _POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Guard:
    """ASGI middleware: no fetching through this server, no calls past the page, headers that keep the browser here."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on and add the headers to the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if refused(scope["path"]):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"This server serves its own page and fetches nothing from elsewhere."})
            return

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            """Add the safe headers to the start of a response."""
            if message["type"] == "http.response.start":
                kept = [(k, v) for k, v in message.get("headers", []) if k.lower() not in _HEADERS]
                message["headers"] = [*kept, *_HEADERS.items()]
            await send(message)

        await self.app(scope, receive, with_headers)


def refused(path: str) -> bool:
    """Whether a request wants this server to fetch an address for it, or calls a function past the page."""
    _, equals, rest = path.partition("=")
    return (
        path.startswith("/gradio_api/call/")
        or "/proxy=" in path
        or (bool(equals) and "/file=" in path and "://" in rest.replace(":/", "://", 1))
    )


@lru_cache(maxsize=1)
def private_folder() -> Path:
    """A folder of our own for uploads, outside the project, gone when the process ends.

    Gradio reads where it is from the environment, so this comes before its import. A folder that the environment names
    already is not used: what lies there may be somebody else's.

    Raises:
        ConfigError: temporary files lie inside the project.
    """
    base = Path(tempfile.mkdtemp(prefix="unifusion-demo-")).resolve()
    if base.is_relative_to(HERE.parent):
        shutil.rmtree(base)
        raise ConfigError(f"the folder for temporary files {base.parent} lies in the project;", remedy="set TMPDIR to another folder.")
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    folder = base / "files"
    folder.mkdir()
    (base / "empty").mkdir()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    return folder


def check_access(host: str, auth: str | None, *, share: bool) -> tuple[str, str] | None:
    """Return the login (user, password), None where none is asked for.

    Raises:
        ConfigError: other machines could reach the page without a login, or the login is not user:password.
    """
    auth = auth or os.environ.get("UNIFUSION_DEMO_AUTH") or None
    if auth is None:
        if share or not is_loopback(host):
            where = "a public link" if share else f"the address {host}"
            raise ConfigError(
                f"{where} lets other machines in without a login;", remedy="add --auth USER:PASSWORD, or listen on 127.0.0.1."
            )
        return None
    user, _, password = auth.partition(":")
    if not user or not password:
        raise ConfigError("the login is not USER:PASSWORD;", remedy="give both, for example --auth anna:a-long-password.")
    return user, password


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name other than localhost is not trusted to."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def blocked_paths(folder: Path) -> list[str]:
    """The project and the home folder; one that holds the uploads' folder would block the page itself and is left out."""
    return sorted({str(p) for p in (HERE.parent, Path.home().resolve()) if not folder.is_relative_to(p)})


def launch_options(folder: Path, *, auth: tuple[str, str] | None = None) -> dict[str, Any]:
    """What is handed to `Blocks.launch`, host and port aside."""
    from starlette.middleware import Middleware

    look = _look()
    return {
        "auth": auth,
        "share": False,
        "show_error": False,
        "strict_cors": True,
        "enable_monitoring": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "max_file_size": LIMITS.max_bytes,
        "allowed_paths": [str(folder / "examples"), str(folder / PREVIEWS)],
        "blocked_paths": blocked_paths(folder),
        "state_session_capacity": 1000,
        "footer_links": [],
        "quiet": True,
        "app_kwargs": {"middleware": [Middleware(Guard)]},
        **look,
    }


def _look() -> dict[str, Any]:
    """Theme and style sheet; system fonts, so that no font is fetched."""
    import gradio as gr

    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    theme = gr.themes.Soft(
        primary_hue="teal", secondary_hue="teal", neutral_hue="slate", font=fonts, font_mono=["ui-monospace", "Menlo", "monospace"]
    )
    plain = {
        "block_label_background_fill": "*background_fill_secondary",
        "block_label_text_color": "*body_text_color_subdued",
        "block_label_text_weight": "500",
        "block_title_background_fill": "none",
        "block_title_text_color": "*body_text_color_subdued",
        "block_title_text_weight": "500",
        "block_title_padding": "0",
        "block_label_background_fill_dark": "*background_fill_secondary",
        "button_large_padding": "8px 14px",
        "button_large_text_size": "*text_md",
        "body_text_color_subdued": "*neutral_500",
        "block_shadow": "none",
        "block_border_width": "1px",
        "layout_gap": "12px",
    }
    theme = theme.set(**plain)
    return {"theme": theme, "css_paths": [HERE / "style.css"]}


def serve(
    page: gr.Blocks,
    *,
    folder: Path,
    host: str,
    port: int | None,
    auth: tuple[str, str] | None,
    share: bool = False,
    log: Callable[[str], None] = print,
) -> None:
    """Serve the page until interrupted. The working directory becomes an empty one.

    Raises:
        ConfigError: the port is taken.
    """
    os.chdir(folder.parent / "empty")  # Gradio lets handlers hand out files of the working directory; there are none
    options = {**launch_options(folder, auth=auth), "share": share}
    try:
        _, url, public = page.launch(server_name=host, server_port=port, prevent_thread_lock=True, **options)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port or '7860-7959'}: {error};", remedy="give another --port.") from error
    log(f"The demo is at {public or url} (Ctrl-C ends it)")
    wait_for_the_end()
    page.close(verbose=False)


def wait_for_the_end() -> None:
    """Return on Ctrl-C or SIGTERM, so that either way the server closes and the uploads' folder goes."""
    ended = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        while not ended.wait(0.5):
            continue
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)  # whoever goes on must be killable again
