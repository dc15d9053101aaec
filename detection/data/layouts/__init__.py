"""Readers of detection data: one file a layout of folders and annotation files."""
