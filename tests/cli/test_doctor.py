"""`unifusion doctor`: each finding is made from what is really there."""

import importlib.metadata
import json

import pytest

from unifusion import share
from unifusion.cli.checks import codecs, examine, machine, packages
from unifusion.cli.checks.finding import Finding

GIB = 1024**3


@pytest.fixture
def fake_package(tmp_path, monkeypatch):
    """Install a package that does what its body says on import."""

    def install(name, version, body):
        (tmp_path / f"{name}.py").write_text(body)
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return install


def only(findings):
    found = list(findings)
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "torchvision::nms"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
    ],
)
def test_a_torchvision_that_cannot_import(fake_package, monkeypatch, body, said):
    fake_package("torchvision", "0.28.0", body)
    monkeypatch.setattr(packages, "NATIVE", {"torchvision": packages.NATIVE["torchvision"]})
    finding = only(packages.native_imports())
    assert finding.state == "fail"
    assert said in finding.found
    assert "pip uninstall torchvision" in finding.remedy


def test_a_package_that_imports(fake_package, monkeypatch):
    fake_package("torchcodec", "0.13.0", "")
    monkeypatch.setattr(packages, "NATIVE", {"torchcodec": packages.NATIVE["torchcodec"], "surely_absent": ("fail", "x")})
    assert only(packages.native_imports()) == Finding("import torchcodec", "ok", "0.13.0")


@pytest.mark.parametrize(("version", "state"), [("6.19.3", "fail"), ("6.20.0", "ok"), ("6.31.0", "ok"), ("7.0", "ok"), ("5.49.1", "fail")])
def test_versions_below_a_known_hole(monkeypatch, version, state):
    monkeypatch.setattr(packages, "SECURITY_FLOORS", {"gradio": packages.SECURITY_FLOORS["gradio"]})
    monkeypatch.setattr(packages, "installed", lambda name: version)
    finding = only(packages.security_floors())
    assert finding.state == state
    assert ("CVE" in finding.found) == (state == "fail")


def test_local_parts_of_a_version_do_not_count():
    assert packages.numbers("2.13.0+cpu") == (2, 13, 0)
    assert packages.numbers("5.2.0") < packages.numbers(packages.SECURITY_FLOORS["transformers"][0])


def test_a_requirement_that_does_not_fit(monkeypatch):
    declared = ["torch>=99", "no-such-package", "numpy", "gradio>=99; extra == 'demo'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: declared)
    finding = only(packages.versions())
    assert finding.state == "fail"
    assert "torch" in finding.found
    assert "no-such-package missing" in finding.found
    assert "numpy" not in finding.found
    assert "gradio" not in finding.found


@pytest.mark.parametrize(
    ("free", "limit", "used", "wanted"),
    [(8 * GIB, "max", 0, 8 * GIB), (8 * GIB, str(3 * GIB), GIB, 2 * GIB), (GIB, str(64 * GIB), GIB, GIB), (5 * GIB, None, 0, 5 * GIB)],
)
def test_memory_is_that_of_the_machine_or_the_container(tmp_path, free, limit, used, wanted):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 99999999 kB\nMemAvailable:  {free // 1024} kB\n")
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{used}\n")
    assert machine.available_bytes(meminfo, tmp_path) == wanted


@pytest.mark.parametrize(("free", "state"), [(None, "warn"), (GIB, "fail"), (3 * GIB, "warn"), (8 * GIB, "ok")])
def test_memory_states(monkeypatch, free, state):
    monkeypatch.setattr(machine, "available_bytes", lambda: free)
    assert only(machine.memory()).state == state


def test_damaged_and_missing_models(tmp_path, monkeypatch, toy_folder):
    from pathlib import Path

    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    monkeypatch.setattr(share, "__file__", str(tmp_path / "unifusion" / "share.py"))
    assert only(machine.shipped_models()).state == "fail"
    (checkpoints / "good").symlink_to(toy_folder)
    assert only(machine.shipped_models()).state == "ok"
    for name, content in (("empty", None), ("torn", b"\x10\0\0\0\0\0\0\0{")):
        (checkpoints / name).mkdir()
        (checkpoints / name / "config.json").write_text("{}")
        if content:
            (checkpoints / name / "model.safetensors").write_bytes(content)
    states = {f.name: f.state for f in machine.shipped_models()}
    assert states == {"model empty": "fail", "model good": "ok", "model torn": "fail"}
    assert (Path(toy_folder) / "config.json").exists()


def test_every_codec_decodes_here():
    findings = {f.name: f for f in codecs.really_decode()}
    assert len(findings) == len(codecs.FORMATS)
    assert findings["codec H.264 + AAC (mp4)"].state == "ok"
    assert [f for f in findings.values() if f.state == "fail"] == []


@pytest.mark.parametrize(("change", "said"), [({"SECONDS": 0.5}, "samples"), ({"TONE_HZ": 880}, "came back as 440 Hz")])
def test_wrong_sound_is_noticed(tmp_path, monkeypatch, change, said):
    path = tmp_path / "a.wav"
    if "SECONDS" in change:
        monkeypatch.setattr(codecs, "SECONDS", 0.5)
        codecs.make_clip(path, "", "pcm_s16le")
        monkeypatch.setattr(codecs, "SECONDS", 1.0)
    else:
        codecs.make_clip(path, "", "pcm_s16le")
        monkeypatch.setattr(codecs, "TONE_HZ", 880)
    assert said in codecs.decode_and_compare(path, picture=False, sound=True)


def test_wrong_frames_are_noticed(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    codecs.make_clip(path, "libx264", "")
    assert codecs.decode_and_compare(path, picture=True, sound=False) == ""
    monkeypatch.setattr(codecs, "SHADE", 24)
    assert "not those written" in codecs.decode_and_compare(path, picture=True, sound=False)


def test_an_encoder_that_is_not_there_is_no_failure(monkeypatch):
    monkeypatch.setattr(codecs, "FORMATS", {"X": ("x.mp4", "no-such-encoder", "")})
    finding = only(codecs.really_decode())
    assert finding.state == "warn"
    assert "not tried" in finding.found


def test_findings_are_told_and_a_failure_is_exit_code_one(run, monkeypatch):
    import unifusion.cli.checks as checks

    bad = Finding("thing", "fail", "broken", "mend it")
    monkeypatch.setattr(checks, "examine", lambda: iter([Finding("other", "ok", "fine"), bad]))
    code, out, _ = run("doctor")
    assert code == 1
    assert "FAIL thing: broken\n     -> mend it" in out
    code, out, _ = run("doctor", "--json")
    assert code == 1
    assert json.loads(out) == {"healthy": False, "findings": [vars(Finding("other", "ok", "fine")), vars(bad)]}
    monkeypatch.setattr(checks, "examine", lambda: iter([Finding("other", "warn", "so so", "x")]))
    assert run("doctor")[0] == 0


def test_the_whole_examination_runs_here(monkeypatch):
    monkeypatch.setattr(packages, "NATIVE", {"av": packages.NATIVE["av"]})
    names = [f.name for f in examine()]
    assert {"python", "requirements", "torch security", "memory", "disk", "import av", "device", "codec WAV"} <= set(names)
