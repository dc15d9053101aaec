"""The configs of detectors, for tests on the CPU."""

from detection.config import default_config

from run_tools import PROJECT

FOLDER = PROJECT / "configs"


def load_config(name, *opts):
    cfg = default_config()
    cfg.merge_from_file(str(FOLDER / name))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *opts])
    return cfg
