"""Ways to test a trained detector: on the image as a whole, on copies of the image, in tiles, at several scales."""
