"""Checks the installation: prints versions and devices, and for each fault how to repair it.

The exit code is 1 if there is a fault, else 0.
"""

import importlib
import importlib.metadata
import os
import platform
import sys

from backbones._detectron2 import REMEDY, detectron2_source
from residet.cli.arguments import Parser

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else albumentations asks the network for updates

NEEDED = ("torch", "torchvision", "detectron2", "fvcore", "pycocotools", "albumentations")
PYTHON = ((3, 10), (3, 13))


def version(name, faults):
    """The version of a package; "-" if the package does not import, with the reason appended to `faults`."""
    try:
        module = importlib.import_module(name)
    except Exception as e:  # a broken package may raise anything
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        if name == "detectron2":
            reason, remedy = reason.removesuffix(f"; {REMEDY}"), REMEDY
        elif name == "torchvision" and "torchvision::nms" in reason:
            remedy = "torch and torchvision are from different builds: install both together, from the same index"
        else:
            remedy = f"{sys.executable} -m pip install --force-reinstall {name}"
        faults.append(f"{name} does not import ({reason}); {remedy}")
        return "-"
    if hasattr(module, "__version__"):
        return module.__version__
    return importlib.metadata.version(name)


def devices(faults):
    """A line for the CPU and for each GPU. A GPU that CUDA cannot use is appended to `faults`."""
    try:
        import torch
    except ImportError:
        return []
    lines = [f"cpu: {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        lines += [f"cuda:{i}: {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    elif torch.version.cuda and torch.cuda.device_count():
        faults.append(f"there is a GPU but CUDA does not start; update the driver to one for CUDA {torch.version.cuda}")
    return lines


def parse(argv=None):
    """Parses the command line, or `argv`."""
    return Parser("doctor.py", __doc__).parse_args(argv)


def main(argv=None):
    """Prints the report; returns the exit code."""
    parse(argv)
    faults = []
    if not PYTHON[0] <= sys.version_info[:2] <= PYTHON[1]:
        faults.append(f"Python {platform.python_version()} is not supported; use 3.10 to 3.13")
    print(f"python         {platform.python_version()}")
    for name in NEEDED:
        print(f"{name:14} {version(name, faults)}", end="")
        print(f" ({detectron2_source()})" if name == "detectron2" and detectron2_source() else "")
        if name == "torch" and "torch" in sys.modules:
            print(f"{'CUDA':14} {sys.modules['torch'].version.cuda or 'not built in'}")
    for line in devices(faults):
        print(f"{'device':14} {line}")
    for fault in faults:
        print(f"wrong: {fault}")
    print("all is well" if not faults else f"{len(faults)} fault(s)")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
