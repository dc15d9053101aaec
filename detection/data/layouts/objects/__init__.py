"""Readers of annotation files that name their images: tables, and the JSON of VIA, LabelMe and Create ML."""
