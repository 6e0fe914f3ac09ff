"""The machine: memory, disk, accelerator, the voice of clip world, and the models that ship with the project."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from unifusion import catalog, share
from unifusion.cli.checks.finding import Finding
from unifusion.errors import UniFusionError

__all__ = ["accelerator", "disk", "memory", "shipped_models", "voice"]

GIB = 1024**3
CGROUP = Path("/sys/fs/cgroup")


def available_bytes(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = CGROUP) -> int | None:
    """Return the memory this process may still take: what the kernel says is free, or less where a container is limited."""
    try:
        line = next(row for row in meminfo.read_text().splitlines() if row.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    free = int(line.split()[1]) * 1024
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
    except OSError:
        return free
    return free if limit == "max" else min(free, int(limit) - used)


def memory() -> Iterator[Finding]:
    """The shipped model answers within about 2 GiB; training it wants 6."""
    free = available_bytes()
    if free is None:
        yield Finding("memory", "warn", "cannot be told on this system", "2 GiB must be free to chat, 6 to train")
    elif free < 2 * GIB:
        yield Finding("memory", "fail", f"{free / GIB:.1f} GiB free, 2 are needed to chat", "end programs or raise the container's limit")
    elif free < 6 * GIB:
        yield Finding("memory", "warn", f"{free / GIB:.1f} GiB free", "enough to chat; training the shipped model wants 6 GiB")
    else:
        yield Finding("memory", "ok", f"{free / GIB:.1f} GiB free")


def disk() -> Iterator[Finding]:
    """Decoding and the demo write temporary files."""
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free
    low = free < GIB
    yield Finding("disk", "warn" if low else "ok", f"{free / GIB:.1f} GiB free in {place}", "set TMPDIR to a larger disk" if low else "")


def accelerator() -> Iterator[Finding]:
    """Which device torch will use; a CUDA build without a device and the other way round."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("device", "fail", f"torch does not import: {error}", "see above")
        return
    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    if torch.cuda.is_available():
        yield Finding("device", "ok", f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}")
    elif torch.version.cuda is not None:
        found = f"torch has CUDA {torch.version.cuda} but sees no device; CPU, {threads}"
        yield Finding("device", "warn", found, "check nvidia-smi and the driver, or go on with the CPU")
    elif shutil.which("nvidia-smi"):
        found = f"there is an NVIDIA driver but torch is a CPU build; {threads}"
        yield Finding("device", "warn", found, "pip install torch from PyTorch's CUDA index")
    else:
        yield Finding("device", "ok", f"CPU, {threads}")


def voice() -> Iterator[Finding]:
    """Clip world speaks through espeak-ng, which a pip package carries; only rendering and training need it."""
    import ctypes

    remedy = "pip install 'unifusion-x[world]' (only rendering clip world and training need it)"
    try:
        import espeakng_loader

        ctypes.CDLL(espeakng_loader.get_library_path())
        lacking = not Path(espeakng_loader.get_data_path()).is_dir()
    except (ImportError, OSError) as error:
        yield Finding("espeak-ng", "warn", str(error), remedy)
        return
    yield Finding("espeak-ng", "warn" if lacking else "ok", "its voices are missing" if lacking else "speaks", remedy if lacking else "")


def shipped_models() -> Iterator[Finding]:
    """Each checkpoint that ships must have weights whose header can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        names = catalog.names("checkpoints")
    except UniFusionError as error:
        yield Finding("models", "fail", str(error), "reinstall unifusion-x")
        return
    if not names:
        yield Finding("models", "fail", "no checkpoint ships with this installation", "make tiny trains it; or reinstall unifusion-x")
    for name in names:
        files = sorted((share.folder("checkpoints") / name).glob("*.safetensors"))
        try:
            tensors = 0
            for file in files:
                with safe_open(file, framework="numpy") as opened:
                    tensors += len(opened.keys())
        except (OSError, SafetensorError) as error:
            yield Finding(f"model {name}", "fail", str(error), "reinstall unifusion-x (a git checkout: git checkout -- checkpoints)")
            continue
        size = sum(file.stat().st_size for file in files) / 1e6
        found = f"{tensors} tensors, {size:.1f} MB"
        yield Finding(f"model {name}", "ok", found) if tensors else Finding(f"model {name}", "fail", found, "reinstall unifusion-x")
