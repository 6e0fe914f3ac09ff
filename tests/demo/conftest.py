"""The demo's files, a toy engine whose speed can be set, and the served page."""

import importlib.util
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio", reason="the demo needs gradio: pip install 'unifusion-x[demo]'")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def app():
    """demo/app.py, loaded as the command line loads it: from its file."""
    spec = importlib.util.spec_from_file_location("unifusion_script_app", ROOT / "demo" / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def part(app):
    return app.part


@pytest.fixture(scope="session")
def clip():
    return ROOT / "demo" / "examples" / "happy-face-angry-voice.mp4"


class Pace:
    """Seconds each step of the language model takes at least."""

    seconds = 0.0

    def wait(self, *_):
        time.sleep(self.seconds)


def speak_letters(engine):
    """Let the random model choose among ASCII letters only, so that its text streams letter by letter and never ends by itself."""
    tokens = engine.processor.tokenizer.convert_ids_to_tokens(range(len(engine.processor.tokenizer)))
    silent = [i for i, t in enumerate(tokens) if not (len(t) == 1 and t.isascii() and t.isalpha())]
    engine.model.get_input_embeddings().weight.data[silent] = 0.0  # tied: its logit is 0, below the largest of 52 random ones


def make_engine(part, **options):
    from tests.toys import LLAMA, chat_model
    from unifusion import Engine

    engine = Engine(*chat_model(llm={**LLAMA, "max_position_embeddings": 4096}), limits=part("settings").LIMITS, **options)
    speak_letters(engine)
    engine.pace = Pace()
    engine.model.language_model.register_forward_pre_hook(engine.pace.wait)
    return engine


@pytest.fixture(scope="session")
def shared_engine(part):
    return make_engine(part)


@pytest.fixture
def engine(shared_engine):
    shared_engine.pace.seconds = 0.0
    return shared_engine


@pytest.fixture(scope="session")
def served(app, part):
    """The page on a free port, decoding in a child process as `unifusion demo` does."""
    settings = part("settings")
    folder = settings.private_folder()
    made = make_engine(part, isolate=True)
    page = app.build(made, model="toy")
    _, url, _ = page.launch(server_name="127.0.0.1", server_port=None, prevent_thread_lock=True, **settings.launch_options(folder))
    yield SimpleNamespace(url=url.rstrip("/"), page=page, engine=made, folder=folder)
    page.close()
