"""Prediction on images that no data set describes: the images, their detections, and the folder of the results."""
