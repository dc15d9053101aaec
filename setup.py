"""Metadata sits in pyproject.toml; this file keeps `python setup.py` and old installers working."""

from setuptools import setup

setup()
