"""The training engine that pretraining and detection share: trainer, hooks, exact resume, checkpoints, launch."""

import backbones  # noqa: F401  makes `import detectron2` work
