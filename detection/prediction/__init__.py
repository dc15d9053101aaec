"""Prediction on images that no data set describes: what goes in, what comes out, and files of it."""
