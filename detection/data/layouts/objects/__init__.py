"""Readers of annotation files that name their images: tables, and JSON of VIA, LabelMe, Label Studio, Create ML."""
