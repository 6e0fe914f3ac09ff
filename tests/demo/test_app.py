"""Flags and settings: nobody but this machine without a login, nothing served but uploads and examples."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from unifusion.errors import CheckpointError, ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def settings(part):
    return part("settings")


@pytest.fixture(autouse=True)
def no_login(monkeypatch):
    monkeypatch.delenv("UNIFUSION_DEMO_AUTH", raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9"])
def test_loopback_needs_no_login(settings, host):
    assert settings.check_access(host, None, share=False) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "localhost.example.org", ""])
def test_others_need_a_login(settings, host):
    with pytest.raises(ConfigError, match="--auth"):
        settings.check_access(host, None, share=False)
    assert settings.check_access(host, "anna:secret:x", share=False) == ("anna", "secret:x")


def test_a_public_link_needs_a_login(settings):
    with pytest.raises(ConfigError, match="public link"):
        settings.check_access("127.0.0.1", None, share=True)


def test_the_login_may_come_unseen(settings, monkeypatch):
    monkeypatch.setenv("UNIFUSION_DEMO_AUTH", "anna:secret")
    assert settings.check_access("0.0.0.0", None, share=False) == ("anna", "secret")


@pytest.mark.parametrize("auth", ["anna", "anna:", ":secret"])
def test_half_a_login_is_none(settings, auth):
    with pytest.raises(ConfigError, match="USER:PASSWORD"):
        settings.check_access("127.0.0.1", auth, share=False)


def test_main_refuses_before_it_loads_anything(app):
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0"):
        app.main(["--host", "0.0.0.0", "--model", "no-such-model"])
    with pytest.raises(CheckpointError, match="no-such-model"):
        app.main(["--model", "no-such-model"])


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--host", "0.0.0.0"], 2, "--auth"),
        (["--help"], 0, "--examples"),
        (["--prot", "1"], 2, "--prot"),
        (["--port", "0"], 2, "1 to 65535"),
    ],
)
def test_as_a_script_from_anywhere(tmp_path, flags, code, words):
    done = subprocess.run(
        [sys.executable, str(ROOT / "demo" / "app.py"), *flags], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_its_files_shadow_nothing(app, part):
    before = list(sys.path)
    assert part("report").__name__ == "unifusion_demo.report"
    assert sys.path == before
    assert str(ROOT / "demo") not in sys.path


def test_uploads_lie_in_a_folder_of_our_own(settings, monkeypatch):
    import os

    folder = settings.private_folder()
    assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
    assert not folder.is_relative_to(ROOT) and folder.stat().st_mode & 0o777 in (0o700, 0o755)
    assert folder.parent.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(tempfile, "tempdir", str(ROOT / "demo"))
    before = sorted((ROOT / "demo").iterdir())
    with pytest.raises(ConfigError, match="TMPDIR"):
        settings.private_folder.__wrapped__()
    assert sorted((ROOT / "demo").iterdir()) == before


def test_launch_options_are_the_safe_ones(settings):
    folder = settings.private_folder()
    options = settings.launch_options(folder)
    wanted = {"share": False, "show_error": False, "strict_cors": True, "enable_monitoring": False, "mcp_server": False, "ssr_mode": False}
    assert {k: options[k] for k in wanted} == wanted
    assert options["max_file_size"] == settings.LIMITS.max_bytes
    assert options["allowed_paths"] == [str(folder / "examples"), str(folder / "previews")]
    assert str(ROOT) in options["blocked_paths"]
    assert not any(folder.is_relative_to(p) for p in options["blocked_paths"])


def test_a_home_that_holds_the_uploads_is_not_blocked(settings, monkeypatch):
    folder = settings.private_folder()
    monkeypatch.setattr(Path, "home", lambda: folder.parent)
    assert settings.blocked_paths(folder) == [str(ROOT)]


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("/gradio_api/file=http://a/b", True),
        ("/gradio_api/file=https:/a/b", True),
        ("/gradio_api/file=HTTP://a", True),
        ("/gradio_api/proxy=http://a", True),
        ("/gradio_api/call/_ask", True),
        ("/gradio_api/file=/tmp/x/clip.mp4", False),
        ("/gradio_api/queue/data", False),
        ("/", False),
    ],
)
def test_the_guard_knows_an_address(settings, path, refused):
    assert settings.refused(path) is refused


def test_every_event_is_private_and_the_model_answers_one_at_a_time(app, engine):
    page = app.build(engine)
    events = [f for f in page.fns.values() if f.fn is not None]
    assert {f.api_visibility for f in events if f.name not in ("_leave",)} == {"private"}
    limits = {f.name: (f.concurrency_id, f.concurrency_limit) for f in events}
    assert limits["_ask"] == limits["_feel"] == ("model", 1)
    assert page.analytics_enabled is False


def test_examples_ship_and_are_small():
    clips = sorted((ROOT / "demo" / "examples").glob("*.mp4"))
    assert len(clips) == 3
    assert max(c.stat().st_size for c in clips) <= 1_000_000


def test_examples_have_the_picture_and_sound_they_claim(engine, clip):
    from unifusion import Media

    for path in sorted(clip.parent.glob("*.mp4")):
        report = engine.open(Media(kind="video", source=str(path)))[0].reports
        assert report["video"].present and report["audio"].present
        assert report["video"].seconds == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize("sign", ["SIGTERM", "SIGINT"])
def test_the_end_leaves_no_uploads_behind(tmp_path, sign):
    """The real program over a saved toy model: it serves, and when told to end it goes with its folder."""
    import os
    import signal
    import socket
    import urllib.request

    from tests.toys import chat_model
    from unifusion import checkpoint

    model = checkpoint.save(*chat_model(), tmp_path / "toy", provenance={})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = ["--model", str(model), "--port", str(port)]
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen(
        [sys.executable, str(ROOT / "demo" / "app.py"), *flags], stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path
    )
    try:
        url = running.stdout.readline().split(" at ")[1].split()[0]
        assert urllib.request.urlopen(url, timeout=60).status == 200
        assert len(list(tmp_path.glob("unifusion-demo-*"))) == 1
        running.send_signal(getattr(signal, sign))
        assert running.wait(60) == 0
    finally:
        running.kill()
    assert list(tmp_path.glob("unifusion-demo-*")) == []
