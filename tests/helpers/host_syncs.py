"""Counts where a computation on a GPU would make the CPU wait for the GPU, in a computation on the CPU.

Counted are numbers and arrays that leave the device (item, bool, float, tolist, cpu, numpy), results whose size depends
on values (nonzero, unique, indexing by a mask), and small tensors that Python lists are made into on the device.
"""

import sys
from collections import Counter

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_SIZED_BY_VALUES = ("nonzero", "masked_select", "unique", "_unique2", "unique_dim", "unique_consecutive", "nms")
_LEAVING = {torch.Tensor.tolist, torch.Tensor.cpu, torch.Tensor.numpy}
_MADE = {torch.tensor, torch.as_tensor}


class HostSyncs(TorchDispatchMode):
    """Counts the synchronisations within its context.

    Attributes:
        places: how often each line of the project or of a library caused one: "file:line function" -> count.
    """

    def __init__(self):
        super().__init__()
        self.places = Counter()
        self._functions = _Functions(self)

    @property
    def total(self):
        return sum(self.places.values())

    def __enter__(self):
        self._functions.__enter__()
        return super().__enter__()

    def __exit__(self, *args):
        super().__exit__(*args)
        self._functions.__exit__(*args)

    def count(self):
        frame = sys._getframe(1)
        while "/torch/" in frame.f_code.co_filename or frame.f_code.co_filename == __file__:
            frame = frame.f_back
        file = "/".join(frame.f_code.co_filename.split("/")[-2:])
        self.places[f"{file}:{frame.f_lineno} {frame.f_code.co_name}"] += 1

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name == "_local_scalar_dense" or name in _SIZED_BY_VALUES or _by_mask(name, args):
            self.count()
        return function(*args, **(kwargs or {}))


def _by_mask(name, args):
    if "put" in name and args[2].numel() == 1:
        return False  # of one value, torch makes a masked fill
    indices = args[1] if name in ("index", "index_put", "index_put_", "_index_put_impl_") else ()
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)


class _Functions(TorchFunctionMode):
    def __init__(self, counter):
        self.counter = counter

    def __torch_function__(self, function, types, args=(), kwargs=None):
        leaves = function is torch.Tensor.to and any(isinstance(a, str) and a == "cpu" for a in args[1:])
        made = function in _MADE and not isinstance(args[0], torch.Tensor) and (kwargs or {}).get("device") is not None
        if function in _LEAVING or leaves or made:
            self.counter.count()
        return function(*args, **(kwargs or {}))
