"""A second device on a machine that has none: tensors say they lie on `apart:0`, are computed on the CPU, and refuse to meet others.

It stands for a GPU where the question is whether everything is moved. Importing it makes `apart` the process's accelerator for good:
run what uses it in a process of its own (`tests/engine/test_devices.py`).
"""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("apart")
DEVICE = torch.device("apart:0")
_MAY_MEET = ("_to_copy", "copy_", "lift_fresh")
_INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
"""A tensor may be indexed by one on the CPU, as on a GPU."""


class Placed(torch.Tensor):
    """A tensor on the device; `held` has its values."""

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=DEVICE,
            requires_grad=held.requires_grad,
        )  # fmt: skip

    def __init__(self, held):
        self.held = held

    def tolist(self):
        return self.held.tolist()

    def __repr__(self):
        return f"Placed({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, dict(kwargs or {}))


def _run(func, args, kwargs):
    """Carry an operation out on the CPU, if all it takes lies on one device; its results lie there too, or where it says."""
    name = func.overloadpacket.__name__
    given = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
    placed = [t for t in given if isinstance(t, Placed)]
    if placed and name not in _MAY_MEET:
        strangers = [t for t in given if not isinstance(t, Placed) and t.dim()]
        if name in _INDEXED and isinstance(args[0], Placed):
            strangers = [t for t in strangers if t.dtype not in (torch.int64, torch.bool)]
        if strangers or getattr(kwargs.get("generator"), "device", DEVICE).type == "cpu":
            found = [tuple(t.shape) for t in strangers]
            raise RuntimeError(f"{func}: all tensors must lie on one device; on the CPU: {found}, or a generator")
    there = isinstance(args[0], Placed) if name == "copy_" else bool(placed)
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]).type == DEVICE.type
        kwargs["device"] = torch.device("cpu") if there else kwargs["device"]
    kwargs.pop("pin_memory", None)
    args, kwargs = tree_map_only(Placed, lambda t: t.held, (args, kwargs))
    if name == "histc" and not args[0].is_floating_point():  # the CPU has it for floats alone
        args = (args[0].float(), *args[1:])
    known = {id(t.held): t for t in placed}  # what is changed in place stays the object it is
    return tree_map_only(torch.Tensor, lambda t: known[id(t)] if id(t) in known else Placed(t) if there else t, func(*args, **kwargs))


class _Made(TorchFunctionMode):
    """Lets `torch.tensor(.., device=..)` make its tensor on the CPU first."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        where = kwargs.pop("device", None) if func in (torch.tensor, torch.as_tensor) else None
        made = func(*args, **kwargs)
        return made if where is None else made.to(where)


class Accelerator(TorchDispatchMode):
    """While it is on, `.to("apart")` and `device="apart"` work."""

    def __enter__(self):
        self._made = _Made()
        self._made.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._made.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, dict(kwargs or {}))


def _empty_strided(size, stride, dtype=None, layout=None, device=None, pin_memory=None):
    """What torch asks of a device where no mode sees it."""
    return Placed(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source, target, non_blocking=False):
    held = [t.held if isinstance(t, Placed) else t for t in (target, source)]
    held[0].copy_(held[1])
    return target


_LIBRARY = torch.library.Library("aten", "IMPL")
_LIBRARY.impl("empty_strided", _empty_strided, "PrivateUse1")
_LIBRARY.impl("_copy_from", _copy_from, "PrivateUse1")
