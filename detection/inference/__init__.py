"""Ways to run a trained detector on an image: plain, in tiles, at several scales."""
