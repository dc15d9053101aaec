"""Labelled images: from data sets on disk to batches."""
