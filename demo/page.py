"""The page: its fields, what they call, and how a talk is shown."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from unifusion import Engine

from .drawing import esc
from .finding import Finder
from .handlers import ChatView, Handlers
from .inputs import files_only
from .previews import Previews
from .search_page import SearchTab
from .settings import LIMITS, PREVIEWS, private_folder
from .shelf import Shelf
from .visits import Turn

__all__ = ["build"]

ASK = {
    "happy-face-happy-voice": "How does this person feel, and why?",
    "happy-face-angry-voice": "Do the face and the voice agree?",
    "objects-and-sounds": "Which object is there when you hear the bell?",
}
"""What is worth asking about the examples that ship."""
QUESTIONS = ("What happens in this clip?", "How does the person sound?", "Do the face and the voice agree?", "When does the voice start?")
_SEEK = """
element.addEventListener('click', (event) => {
  const mark = event.target.closest('[data-seek]');
  const video = document.querySelector('#clip-video video');
  if (mark && video) { video.currentTime = parseFloat(mark.dataset.seek); }
});
"""
_EMPTY = "Choose a clip on the left, then ask. Each answer shows beside it what was really seen and heard."


class Page:
    """Builds the page over an engine; `blocks` is the result.

    Args:
        engine: what answers.
        examples: clips to offer.
        model: name shown under the title.
        shelf: indexes to search; None offers none.
    """

    def __init__(self, engine: Engine, examples: list[Path], model: str, shelf: Shelf | None = None) -> None:
        self.do = Handlers(engine=engine)
        self.finder = self._finder(shelf)
        self.examples = examples
        with gr.Blocks(title="UniFusion-X", analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True) as self.blocks:
            self.kind = gr.State("video")
            self.question = gr.Textbox(
                label="Question", placeholder=QUESTIONS[0], lines=1, max_lines=4, max_length=4000, elem_id="question", render=False
            )
            gr.HTML(_header(model), elem_id="header")
            with gr.Row(elem_id="desk"):
                with gr.Column(scale=5, min_width=360):
                    self._clip()
                with gr.Column(scale=7, min_width=420), gr.Tabs(elem_id="tabs"):
                    with gr.Tab("Chat", id="chat", elem_id="tab-chat"):
                        self._chat()
                    with gr.Tab("Emotion", id="emotion", elem_id="tab-emotion"):
                        self._emotion()
                    with gr.Tab("Search", id="search", elem_id="tab-search"):
                        SearchTab(self.finder, self._chosen)
            self.blocks.unload(self._leave)
        self.blocks.queue(max_size=24, default_concurrency_limit=4, api_open=False)

    def _finder(self, shelf: Shelf | None) -> Finder | None:
        """What the search tab does, for the same visits as all else."""
        if shelf is None or not shelf.askers:
            return None
        return Finder(shelf=shelf, previews=Previews(private_folder() / PREVIEWS, limits=LIMITS), visits=self.do.visits)

    def _clip(self) -> None:
        """The fields of the clip, its span, the examples, and the place of the evidence under the player."""
        with gr.Tabs(elem_id="clip-kind") as kinds:
            with gr.Tab("Video", id="video", elem_id="tab-video") as video_tab:
                self.video = files_only(
                    gr.Video(
                        label="Video, with its sound",
                        sources=["upload", "webcam"],
                        include_audio=True,
                        elem_id="clip-video",
                        webcam_options=gr.WebcamOptions(mirror=False),
                    )
                )
            with gr.Tab("Sound", id="audio", elem_id="tab-audio") as audio_tab:
                self.audio = files_only(
                    gr.Audio(label="Sound only", sources=["upload", "microphone"], type="filepath", elem_id="clip-audio")
                )
            with gr.Tab("Picture", id="image", elem_id="tab-image") as image_tab:
                self.image = files_only(
                    gr.Image(
                        label="A still picture",
                        sources=["upload", "webcam", "clipboard"],
                        type="filepath",
                        image_mode=None,
                        elem_id="clip-image",
                    )
                )
        for tab, kind in ((video_tab, "video"), (audio_tab, "audio"), (image_tab, "image")):
            tab.select(lambda kind=kind: kind, None, self.kind, queue=False, show_progress="hidden", api_visibility="private")
        self.evidence = gr.HTML(elem_id="evidence", js_on_load=_SEEK)
        with gr.Row():
            self.start = gr.Textbox(label="Start (s)", placeholder="the beginning", max_length=16, elem_id="start", min_width=120)
            self.end = gr.Textbox(label="End (s)", placeholder="the end", max_length=16, elem_id="end", min_width=120)
        if self.examples:
            self._examples(kinds)

    def _examples(self, kinds: gr.Tabs) -> None:
        """Clips to begin with, each with a question worth asking."""
        rows = [[str(p), ASK.get(p.stem, QUESTIONS[0])] for p in self.examples]
        offered = gr.Examples(
            rows,
            [self.video, self.question],
            label="Examples, rendered for this project",
            elem_id="examples",
            cache_examples=False,
            api_visibility="private",
        )
        offered.load_input_event.then(
            lambda: ("video", gr.Tabs(selected="video")),
            None,
            [self.kind, kinds],
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    @property
    def _chosen(self) -> list[Any]:
        """The fields that say which clip is meant."""
        return [self.kind, self.video, self.audio, self.image, self.start, self.end]

    def _chat(self) -> None:
        """The chat tab."""
        chat = gr.Chatbot(
            label="Talk",
            height=400,
            elem_id="chat",
            render_markdown=False,
            sanitize_html=True,
            allow_tags=False,
            latex_delimiters=[],
            buttons=[],
            feedback_options=None,
            allow_file_downloads=False,
            placeholder=_EMPTY,
            layout="bubble",
        )
        warning = gr.HTML(elem_id="chat-notice")
        question = self.question.render()
        with gr.Row(elem_id="chat-buttons"):
            ask = gr.Button("Ask", variant="primary", elem_id="ask", min_width=100)
            stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop", min_width=100)
            clear = gr.Button("New talk", elem_id="clear", min_width=100)
        gr.Examples(
            [[q] for q in QUESTIONS], [question], label="For instance", elem_id="questions", cache_examples=False, api_visibility="private"
        )
        keep = gr.Checkbox(
            label="Another clip joins this talk (to compare); otherwise it begins a new one", value=False, elem_id="keep", container=False
        )
        quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        sent = gr.on([ask.click, question.submit], self._begin, None, [ask, stop], trigger_mode="once", **quick)
        asked = sent.then(
            self._ask,
            [*self._chosen, question, keep],
            [chat, question, warning],
            concurrency_id="model",
            concurrency_limit=1,
            show_progress="hidden",
            api_visibility="private",
        )
        asked.then(self._idle, None, [ask, stop], **quick)
        stop.click(self._stop, None, None, **quick)
        gr.on([clear.click, chat.clear], self._clear, None, [chat, question, warning], **quick)

    def _emotion(self) -> None:
        """The emotion tab."""
        read = gr.Button("Read the emotion in this clip", variant="primary", elem_id="feel")
        warning = gr.HTML(elem_id="emotion-notice")
        with gr.Row():
            label = gr.HTML(elem_id="emotion-label", min_width=260)
            circle = gr.HTML(elem_id="emotion-circle", min_width=220)
        rationale = gr.HTML(elem_id="rationale")
        report = gr.HTML(elem_id="emotion-report")
        shown = [label, circle, rationale, self.evidence, report, warning]
        # What stands there belongs to the clip that was read; another clip or span takes it away.
        fields = (self.kind, self.video, self.audio, self.image, self.start, self.end)
        gr.on([f.change for f in fields], lambda: ("",) * 6, None, shown, queue=False, show_progress="hidden", api_visibility="private")
        read.click(
            self._feel,
            self._chosen,
            shown,
            concurrency_id="model",
            concurrency_limit=1,
            show_progress="minimal",
            show_progress_on=[label],
            api_visibility="private",
        )

    def _leave(self, request: gr.Request) -> None:
        """A tab was closed: its talk is forgotten and what it was doing ends."""
        self.do.visits.drop(request.session_hash or "")

    def _begin(self, request: gr.Request) -> tuple[Any, Any]:
        """Buttons while an answer is on its way."""
        self.do.begin(request.session_hash or "")
        return gr.update(interactive=False), gr.update(interactive=True)

    def _stop(self, request: gr.Request) -> None:
        """The stop button."""
        self.do.stop(request.session_hash or "")

    def _idle(self) -> tuple[Any, Any]:
        """Buttons when nothing is on its way."""
        return gr.update(interactive=True), gr.update(interactive=False)

    def _ask(
        self,
        kind: str,
        video: str | None,
        audio: str | None,
        image: str | None,
        start: str,
        end: str,
        question: str,
        keep: bool,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        """Stream an answer."""
        paths = {"video": video, "audio": audio, "image": image}
        for view in self.do.ask(request.session_hash or "", kind, paths, (start or "", end or ""), question or "", keep):
            yield show(view)

    def _clear(self, request: gr.Request) -> tuple[Any, ...]:
        """Begin a new talk."""
        return show(self.do.clear(request.session_hash or ""))

    def _feel(self, kind: str, video: str | None, audio: str | None, image: str | None, start: str, end: str) -> tuple[str, ...]:
        """Read the emotion."""
        view = self.do.feel(kind, {"video": video, "audio": audio, "image": image}, (start or "", end or ""))
        return view.label, view.circle, view.rationale, view.evidence, view.report, view.notice


def build(engine: Engine, *, examples: Path, model: str = "", shelf: Shelf | None = None) -> gr.Blocks:
    """Return the page over an engine.

    Args:
        engine: what answers.
        examples: folder of .mp4 clips; they are copied to where uploads lie, since the project itself is never served.
        model: name shown under the title.
        shelf: indexes to search.
    """
    offered = private_folder() / "examples"
    offered.mkdir(exist_ok=True)
    clips = [Path(shutil.copy(p, offered / p.name)) for p in sorted(examples.glob("*.mp4"))]
    return Page(engine, clips, model, shelf).blocks


def show(view: ChatView) -> tuple[list[dict[str, Any]], str, str]:
    """A view as the chat's messages, the question box and the notice."""
    return [m for turn in view.turns for m in messages(turn)], view.question, view.notice


def messages(turn: Turn) -> list[dict[str, Any]]:
    """A turn as messages: the clip where it is new, the question, the answer with its report.

    Texts are escaped: the chat shows them as HTML that it has cleaned, which still loads an <img>, also with Markdown off.
    """
    shown = [{"role": "user", "content": gr.HTML(f'<div class="ux-clip">{esc(turn.clip)}</div>')}] if turn.clip else []
    shown += [{"role": "user", "content": esc(turn.question)}]
    if turn.answer or turn.report:
        shown += [{"role": "assistant", "content": esc(turn.answer or "(no words)")}]
    if turn.report:
        shown += [{"role": "assistant", "content": gr.HTML(turn.report)}]
    return shown


def _header(model: str) -> str:
    """Title, and what the page does."""
    name = f' <span class="ux-model">{esc(model)}</span>' if model else ""
    text = "Ask about a clip with picture and sound. Every answer says what was really seen and heard."
    return f'<div class="ux-head"><h1>UniFusion-X{name}</h1><p>{text}</p></div>'
