"""Whole detectors in files that other runtimes run."""
