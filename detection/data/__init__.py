"""Detection data: from annotation files of several layouts to the inputs of a model."""
