"""The configs of detectors, for tests on the CPU."""

from detection.config import default_config

from run_tools import PROJECT

FOLDER = PROJECT / "configs"
# Every config that trains a detector, relative to FOLDER.
LEAVES = sorted(str(p.relative_to(FOLDER)) for p in FOLDER.rglob("faster_rcnn_*.yaml"))
LEAVES += [f"paper/wrn/multipathnet_wrn34_2_{k}.yaml" for k in ("coco", "attractionet", "attractionet_minival")]
LEAVES += sorted(str(p.relative_to(FOLDER)) for p in (FOLDER / "bccd").rglob("*_*.yaml"))


def load_config(name, *opts):
    cfg = default_config()
    cfg.merge_from_file(str(FOLDER / name))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *opts])
    return cfg
