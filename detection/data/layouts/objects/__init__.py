"""Readers of annotation files that name their images: tables, and the JSON of VIA, LabelMe, Label Studio and Create ML."""
