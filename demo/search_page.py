"""The fields of the search tab and what they call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from unifusion.errors import UniFusionError

from .drawing import notice
from .finding import MOST, Finder, SearchView
from .handlers import one_line
from .visits import Choice

__all__ = ["SearchTab"]

_GO = """
element.addEventListener('click', (event) => {
  const mark = event.target.closest('[data-hit]');
  const card = mark && document.querySelector(`#found .ux-hit[data-hit="${parseInt(mark.dataset.hit)}"]`);
  if (!card) { return; }
  document.querySelectorAll('#found .ux-cited').forEach((other) => other.classList.remove('ux-cited'));
  card.classList.add('ux-cited');
  card.scrollIntoView({ behavior: 'smooth', block: 'nearest' });
  const player = card.querySelector('video, audio');
  if (player) { player.currentTime = 0; player.play().catch(() => {}); }
});
"""
_NONE = "No index is open. Make one, then start again: <code>unifusion index CLIPS -o INDEX; unifusion demo --index INDEX</code>."


class SearchTab:
    """Builds the tab inside the page that is being built.

    Args:
        do: its actions; None where there is no index.
        chosen: the fields that say which clip stands on the left.
    """

    def __init__(self, do: Finder | None, chosen: list[Any]) -> None:
        if do is None:
            gr.HTML(f'<p class="ux-muted">{_NONE}</p>', elem_id="no-index")
            return
        self.do = do
        names = list(do.shelf.askers)
        with gr.Row():
            words = gr.Textbox(
                label="Find", placeholder="a dog barks while someone laughs", max_length=1000, elem_id="find", scale=4, min_width=220
            )
            index = gr.Dropdown(names, value=names[0], label="Index", elem_id="index", visible=len(names) > 1, scale=1, min_width=130)
            count = gr.Slider(1, MOST, value=4, step=1, label="Windows", elem_id="count", scale=2, min_width=200)
        like = gr.Checkbox(label="Like the clip on the left (its span), too", value=False, elem_id="like", container=False)
        search = gr.Button("Search", variant="primary", elem_id="search")
        warning = gr.HTML(elem_id="search-notice")
        found = gr.HTML(elem_id="found")
        with gr.Row():
            question = gr.Textbox(
                label="Ask over what was found", placeholder="What happens?", max_length=4000, elem_id="over", scale=4, min_width=220
            )
            ask = gr.Button("Ask over these", elem_id="ask-over", scale=1, min_width=120)
        answer = gr.HTML(elem_id="over-answer", js_on_load=_GO)
        shown = [found, answer, warning]
        work: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, "show_progress": "minimal", "api_visibility": "private"}
        gr.on(
            [search.click, words.submit], self._search, [*chosen, index, words, like, count], shown, show_progress_on=[found], **work
        )  # fmt: skip
        gr.on([ask.click, question.submit], self._ask, [question], shown, show_progress_on=[answer], **work)

    def _search(
        self, kind: str, video: str | None, audio: str | None, image: str | None, start: str, end: str, index: str, words: str, like: bool,
        count: float, request: gr.Request,
    ) -> tuple[Any, ...]:  # fmt: skip
        """Find windows."""
        choice = None
        if like:
            try:
                choice = Choice.of(kind, {"video": video, "audio": audio, "image": image}, start or "", end or "")
            except UniFusionError as error:
                return show(SearchView(notice=notice(one_line(error, None))))
        return show(self.do.search(request.session_hash or "", index or "", words or "", choice, int(count)))

    def _ask(self, question: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Answer over what was found."""
        for view in self.do.ask(request.session_hash or "", question or ""):
            yield show(view)


def show(view: SearchView) -> tuple[Any, ...]:
    """A view as cards, answer and notice; what it leaves alone stays."""
    return *(gr.skip() if part is None else part for part in (view.found, view.answer)), view.notice
