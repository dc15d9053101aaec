"""Reads labelled images from data sets on disk and makes batches of them."""
