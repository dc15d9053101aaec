"""The loop of a training: trainer, one step, hooks, checkpoints, exact resume, loaders."""
