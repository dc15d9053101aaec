"""Finds detectron2, which is not on the package index.

The installed one comes first. Where there is none, the pure-Python copy that the `labgym` wheel publishes as
`LabGym.detectron2` takes its place, under its own name: modules are called `detectron2.x`, so that pickles, loggers
and registries are the same as upstream's.

Two mechanisms make that hold:

- a folder whose only content is a package `detectron2` goes to the end of `sys.path`. multiprocessing hands
  `sys.path` to spawned processes, so they find it before they unpickle anything, whatever their main module imports;
- the copy imports itself as `LabGym.detectron2.x`. An import hook answers each such name with the module
  `detectron2.x`, so that no module is loaded twice.
"""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec, module_from_spec, spec_from_file_location, spec_from_loader
from pathlib import Path

_STAND_IN = Path(__file__).parent / "_labgym"
_COPY = "LabGym.detectron2"

REMEDY = (
    "install detectron2 from its own site, or the copy in the labgym wheel: "
    "pip install --no-deps --ignore-requires-python labgym==3.1.2"
)


def provide_detectron2() -> None:
    """Makes `import detectron2` find the installed one or the copy, here and in spawned processes; imports nothing."""
    if find_spec("detectron2") is None:
        sys.path.append(str(_STAND_IN))


def detectron2_source() -> str | None:
    """Where `import detectron2` finds it: "installed", "labgym", or None where there is neither."""
    spec = find_spec("detectron2")
    if spec is None or Path(spec.origin or "").parent.parent == _STAND_IN:
        return "labgym" if _labgym_folder() else None
    return "labgym" if Path(spec.origin or "").parent == _labgym_folder() else "installed"


def load_labgym_copy() -> None:
    """Puts the labgym copy in the place of the stand-in package that is being imported as `detectron2`."""
    folder = _labgym_folder()
    if folder is None:
        raise ModuleNotFoundError(f"detectron2 is not installed; {REMEDY}", name="detectron2")
    sys.meta_path.insert(0, _CopyFinder())
    # Deprecated calls in the copy, which its user can do nothing about.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
    warnings.filterwarnings("ignore", message=".torch.jit.script. is deprecated", category=FutureWarning)
    warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    # The copy names some loggers literally; what they say belongs to detectron2's log.
    logging.getLogger(_COPY).parent = logging.getLogger("detectron2")

    spec = spec_from_file_location("detectron2", folder / "__init__.py", submodule_search_locations=[str(folder)])
    module = module_from_spec(spec)
    sys.modules["detectron2"] = module
    spec.loader.exec_module(module)


def _labgym_folder() -> Path | None:
    labgym = find_spec("LabGym")  # does not import it
    if labgym is None or not labgym.submodule_search_locations:
        return None
    folder = Path(labgym.submodule_search_locations[0]) / "detectron2"
    return folder if (folder / "__init__.py").is_file() else None


class _CopyFinder(MetaPathFinder):
    """Answers `LabGym.detectron2.x` with `detectron2.x`."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname == _COPY or fullname.startswith(_COPY + "."):
            return spec_from_loader(fullname, _SameModuleLoader())
        return None


class _SameModuleLoader(Loader):
    def create_module(self, spec):
        module = importlib.import_module(spec.name.removeprefix("LabGym."))
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module):
        # The import system has just overwritten it; relative imports read it.
        module.__spec__ = self._own_spec
