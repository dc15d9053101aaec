"""Detection data: from annotation files in any layout to model inputs."""
