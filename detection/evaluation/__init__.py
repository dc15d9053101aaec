"""Evaluation of a detector: metrics, error analysis, result files and pictures of detections."""
