"""Pretrains networks as image classifiers. A detector starts from the checkpoint of such a run."""

import backbones  # noqa: F401  makes `import detectron2` work
