"""Makes `import detectron2` work, although detectron2 is not on the package index.

An installed detectron2 is used first. Else `import detectron2` loads the pure-Python copy that the `labgym` wheel
publishes as `LabGym.detectron2`. The copy's modules are named `detectron2.x`, so that pickles, loggers and registries
are the same as upstream's.

Two mechanisms load the copy under the name `detectron2`:

- A folder whose only content is a package `detectron2` goes to the end of `sys.path`. multiprocessing hands `sys.path`
  to spawned processes, so that a spawned process finds the package before the process unpickles anything.
- The copy imports its own modules as `LabGym.detectron2.x`. An import hook answers each such name with the module
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
    f"{sys.executable} -m pip install --no-deps --ignore-requires-python labgym==3.1.2"
)


def provide_detectron2() -> None:
    """Makes `import detectron2` find detectron2 or the labgym copy, in this process and in spawned processes.

    The function itself imports nothing.
    """
    if find_spec("detectron2") is None:
        sys.path.append(str(_STAND_IN))


def detectron2_source() -> str | None:
    """The source of `import detectron2`: "installed", "labgym" for the copy, or None if neither is installed."""
    spec = find_spec("detectron2")
    if spec is None or Path(spec.origin or "").parent.parent == _STAND_IN:
        return "labgym" if _labgym_folder() else None
    return "labgym" if Path(spec.origin or "").parent == _labgym_folder() else "installed"


def load_labgym_copy() -> None:
    """Loads the labgym copy as `detectron2`. The stand-in package in `_labgym` calls this while it is imported.

    Raises:
        ModuleNotFoundError: the labgym wheel is not installed either.
    """
    folder = _labgym_folder()
    if folder is None:
        raise ModuleNotFoundError(f"detectron2 is not installed; {REMEDY}", name="detectron2")
    sys.meta_path.insert(0, _CopyFinder())
    # The user can do nothing about deprecated calls in the copy.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
    warnings.filterwarnings("ignore", message=".torch.jit.script. is deprecated", category=FutureWarning)
    warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    # The copy names some loggers "LabGym.detectron2.x" literally; their lines belong to detectron2's log.
    logging.getLogger(_COPY).parent = logging.getLogger("detectron2")

    spec = spec_from_file_location("detectron2", folder / "__init__.py", submodule_search_locations=[str(folder)])
    module = module_from_spec(spec)
    sys.modules["detectron2"] = module
    spec.loader.exec_module(module)


def _labgym_folder() -> Path | None:
    labgym = find_spec("LabGym")  # find_spec does not import LabGym
    if labgym is None or not labgym.submodule_search_locations:
        return None
    folder = Path(labgym.submodule_search_locations[0]) / "detectron2"
    return folder if (folder / "__init__.py").is_file() else None


class _CopyFinder(MetaPathFinder):
    """Import hook: importing `LabGym.detectron2.x` gives the module `detectron2.x`."""

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
        # The import system has just overwritten `__spec__`, and relative imports read `__spec__`.
        module.__spec__ = self._own_spec
