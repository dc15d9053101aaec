"""How detectron2 is found: the installed one first, else the labgym copy under detectron2's own name."""

import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

from backbones._detectron2 import detectron2_source

import pytest

labgym_only = pytest.mark.skipif(detectron2_source() != "labgym", reason="detectron2 itself is installed")


def run(code, *path, cwd=None):
    code = f"import sys; sys.path[:0] = {[str(p) for p in path]!r}\n" + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)


def check(code, *path):
    done = run(code, *path)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@labgym_only
def test_no_module_is_loaded_twice():
    out = check("""
        import backbones
        import detectron2.engine
        from detectron2.structures import Boxes
        import LabGym.detectron2.modeling.roi_heads
        import LabGym.detectron2.structures.boxes as other
        assert other.Boxes is Boxes and Boxes.__module__ == "detectron2.structures.boxes"
        copies = {n.removeprefix("LabGym.") for n in sys.modules if n.startswith("LabGym.detectron2")}
        assert all(sys.modules["LabGym." + n] is sys.modules[n] for n in copies)
        files = [m.__file__ for n, m in sys.modules.items() if n.startswith("detectron2.")]
        assert len(files) == len(set(files))
        assert all(m.__spec__.name == n for n, m in sys.modules.items() if n.startswith("detectron2"))
        print(len(copies))
    """)
    assert int(out[0]) > 10


@labgym_only
def test_pickled_objects_carry_detectron2s_name():
    check("""
        import backbones, pickle, torch
        from detectron2.structures import Boxes
        data = pickle.dumps(Boxes(torch.ones(1, 4)))
        assert b"detectron2.structures" in data and b"LabGym" not in data
        assert type(pickle.loads(data)) is Boxes
    """)


def test_spawned_process_unpickles_though_its_main_module_imports_nothing():
    # `python -c` has no main module to import again, so the child has sys.path alone to go by.
    check("""
        import backbones, multiprocessing, operator, torch
        from detectron2.structures import Boxes
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            area = pool.apply(Boxes.area, (Boxes(torch.tensor([[0., 0., 2., 3.]])),))
        assert area.item() == 6
    """)


def test_dataloader_workers_under_spawn():
    check("""
        import backbones, torch
        from detectron2.data import DatasetFromList
        from detectron2.structures import Boxes
        data = DatasetFromList([Boxes(torch.full((1, 4), float(i))) for i in range(4)], serialize=False)
        loader = torch.utils.data.DataLoader(
            data, batch_size=None, num_workers=1, multiprocessing_context="spawn"
        )
        assert [b.tensor[0, 0].item() for b in loader] == [0, 1, 2, 3]
    """)


def test_installed_detectron2_comes_first(tmp_path):
    package = tmp_path / "detectron2"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = 'upstream'\n")
    out = check(
        """
        import backbones
        from backbones._detectron2 import detectron2_source
        import detectron2
        print(detectron2.__version__, detectron2_source(), any("_labgym" in p for p in sys.path))
        """,
        tmp_path,
    )
    assert out == ["upstream", "installed", "False"]


@labgym_only
def test_a_whole_installed_detectron2_serves_the_same_way(tmp_path):
    """Upstream's code as it would be installed: the copy with its imports turned back into `detectron2.x`."""
    copy = Path(find_spec("LabGym").submodule_search_locations[0]) / "detectron2"
    for path in copy.rglob("*.py"):
        target = tmp_path / "detectron2" / path.relative_to(copy)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text().replace("LabGym.detectron2", "detectron2"))
    out = check(
        """
        import backbones.registry
        from backbones._detectron2 import detectron2_source
        from detection.config import default_config
        from detectron2.modeling import build_model
        import detection.trainer
        cfg = default_config()
        cfg.MODEL.BACKBONE.NAME, cfg.MODEL.DEVICE = "build_resnet18_backbone", "cpu"
        cfg.MODEL.ROI_HEADS.NAME = "ArchRes5ROIHeads"
        model = build_model(cfg)
        print(detectron2_source(), sys.modules["detectron2"].__file__, any(m.startswith("LabGym") for m in sys.modules))
        """,
        tmp_path,
    )
    assert out == ["installed", str(tmp_path / "detectron2" / "__init__.py"), "False"]


def test_core_needs_no_detectron2_and_the_rest_says_how_to_get_it():
    hide = """
        import importlib.machinery as m
        find = m.PathFinder.find_spec.__func__
        def hidden(cls, name, path=None, target=None):
            if name == "LabGym" or name == "detectron2" and not any("_labgym" in p for p in sys.path):
                return None
            return find(cls, name, path, target)
        m.PathFinder.find_spec = classmethod(hidden)
    """
    if detectron2_source() == "installed":
        pytest.skip("detectron2 itself is installed")
    code = textwrap.dedent(hide) + textwrap.dedent("""
        import torch
        from backbones.resnet import ResidualNet
        from backbones.catalogue import get_spec
        from backbones._detectron2 import detectron2_source
        ResidualNet(get_spec("resnet18"))
        assert detectron2_source() is None
        import backbones.registry
    """)
    done = run(code)
    assert done.returncode == 1
    assert "detectron2 is not installed; install detectron2 from its own site" in done.stderr
