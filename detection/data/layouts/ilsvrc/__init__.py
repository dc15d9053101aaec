"""ILSVRC's data as the downloads lie on disk: its XML files, and ImageNet DET."""
