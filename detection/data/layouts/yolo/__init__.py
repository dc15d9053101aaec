"""YOLO's label files, with and without a data.yaml."""
