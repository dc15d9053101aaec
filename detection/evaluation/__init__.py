"""Metrics, error analysis, result files and pictures of detections."""
