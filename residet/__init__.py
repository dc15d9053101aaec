"""The training engine of pretraining and of detection: trainer, hooks, exact resume, checkpoints, launch."""

import backbones  # noqa: F401  makes `import detectron2` work
