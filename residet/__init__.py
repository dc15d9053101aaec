"""What pretraining and detection share: config, plan and folder of a run, and its training loop (engine/)."""

import backbones  # noqa: F401  makes `import detectron2` work
