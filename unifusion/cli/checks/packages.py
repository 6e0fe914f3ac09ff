"""Packages: versions against the declared floors and the known holes, and native libraries that must really import."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

from unifusion.cli.checks.finding import Finding

__all__ = ["SECURITY_FLOORS", "compiler", "native_imports", "python_version", "security_floors", "versions"]

SECURITY_FLOORS = {
    "torch": ("2.10", "CVE-2026-24747: a checkpoint could run code"),
    "pillow": ("12.3", "CVE-2026-40192: a picture could exhaust memory"),
    "transformers": ("5.2.1", "CVE-2026-5241: a nested config could run code"),
    "gradio": ("6.20", "CVE-2026-59806: a page could read other files"),
}
"""The lowest version without the named hole."""

NATIVE = {
    "torch": ("fail", "pip install -c constraints.txt --force-reinstall torch"),
    "torchvision": ("fail", "pip uninstall torchvision: UniFusion-X needs none, and a broken one stops all of transformers"),
    "transformers": ("fail", "pip install -c constraints.txt transformers; if torchvision is named above, pip uninstall torchvision"),
    "av": ("fail", "pip install -c constraints.txt --force-reinstall av"),
    "soundfile": ("fail", "pip install --force-reinstall soundfile"),
    "torchcodec": ("warn", "pip install 'torchcodec>=0.13,<0.14' (0.14 to 0.17 need CUDA), or pip uninstall torchcodec: PyAV decodes"),
    "decord": ("warn", "pip uninstall decord: PyAV decodes"),
    "deepspeed": ("warn", "pip install 'unifusion-x[deepspeed]'; it needs a working g++"),
    "bitsandbytes": ("warn", "pip install 'unifusion-x[quant]'"),
    "gradio": ("warn", "pip install 'unifusion-x[demo]'"),
}
"""Packages whose import can fail though pip is content: how bad that is, and the remedy. Those not installed are passed over."""

PROBES = {"transformers": "from transformers import AutoModelForMultimodalLM, CLIPModel, LlamaForCausalLM"}
"""What to import where the bare package is lazy."""


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: `2.13.0+cpu` -> (2, 13, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def installed(name: str) -> str | None:
    """Return the version of a distribution, None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def python_version() -> Iterator[Finding]:
    """Python must be 3.11 or newer."""
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if good else "fail", found, "" if good else "make install PYTHON=/path/to/python3.11")


def versions() -> Iterator[Finding]:
    """Every core requirement of this distribution must be installed, in a version it allows."""
    from packaging.requirements import Requirement

    try:
        declared = metadata.requires("unifusion-x") or []
    except metadata.PackageNotFoundError:
        yield Finding("unifusion-x", "fail", "not installed as a distribution", "make install, or pip install -c constraints.txt -e .")
        return
    bad = []
    core = [r for r in map(Requirement, declared) if r.marker is None or r.marker.evaluate({"extra": ""})]
    for requirement in core:
        version = installed(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            bad.append(f"{requirement.name} {version or 'missing'} (wanted {requirement.specifier})")
    if bad:
        yield Finding("requirements", "fail", "; ".join(bad), "pip install -c constraints.txt -e .")
    else:
        yield Finding("requirements", "ok", f"all {len(core)} core packages in versions that fit")


def security_floors() -> Iterator[Finding]:
    """Packages below the version that closed a known hole."""
    for name, (floor, hole) in SECURITY_FLOORS.items():
        version = installed(name)
        if version is None:
            continue
        if numbers(version) < numbers(floor):
            yield Finding(f"{name} security", "fail", f"{version} is below {floor} ({hole})", f"pip install '{name}>={floor}'")
        else:
            yield Finding(f"{name} security", "ok", f"{version} (floor {floor})")


def native_imports() -> Iterator[Finding]:
    """Import each native package in a process of its own: a broken one may end the process or poison later imports."""
    for name, (state, remedy) in NATIVE.items():
        version = installed(name)
        if version is None:
            continue
        code = PROBES.get(name, f"import {name}")
        try:
            run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=False)
        except subprocess.TimeoutExpired:
            yield Finding(f"import {name}", "fail" if state == "fail" else "warn", f"{version}: no answer within 180 s", remedy)
            continue
        if run.returncode == 0:
            yield Finding(f"import {name}", "ok", version)
        else:
            reason = (run.stderr.strip().splitlines() or [f"ended by signal {-run.returncode}"])[-1]
            yield Finding(f"import {name}", "fail" if state == "fail" else "warn", f"{version}: {reason[:200]}", remedy)


def compiler() -> Iterator[Finding]:
    """DeepSpeed compiles its kernels on first use."""
    if installed("deepspeed") is not None and shutil.which("g++") is None:
        yield Finding("compiler", "warn", "deepspeed is installed and there is no g++", "apt-get install g++, or train without --deepspeed")
