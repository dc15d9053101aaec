"""Recipes of classification, read as the tools read them."""

from classification.config import default_config
from classification.schedule import resolve_schedule
from classification.schema.keys import check_keys
from residet.config import merge_config

from run_tools import PROJECT

RECIPES = PROJECT / "configs" / "classification"
IMAGENET, CIFAR, SVHN = 1_281_167, 50_000, 604_388


def load(name, *opts, images=CIFAR):
    """The config of a recipe, with options, for a data set of so many images."""
    cfg = default_config()
    merge_config(cfg, str(RECIPES / name), [*opts, "MODEL.DEVICE", "cpu"])
    check_keys(cfg)
    resolve_schedule(cfg, images)
    return cfg
