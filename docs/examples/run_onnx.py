"""Detects objects in an image with a file of `tools/export.py --to onnx`. Needs numpy, Pillow and onnxruntime alone.

python run_onnx.py detector.onnx photo.jpg
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1])
said = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
image = ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("RGB")
width, height = image.size
scale = min(said["min_size"] / min(width, height), said["max_size"] / max(width, height))
resized = image.resize((int(width * scale + 0.5), int(height * scale + 0.5)), Image.Resampling.BILINEAR)
boxes, scores, classes = session.run(None, {"image": np.asarray(resized)})  # uint8 (height, width, 3)
boxes *= np.tile([width / resized.width, height / resized.height], 2)  # to pixels of the image
for box, score, index in zip(boxes.tolist(), scores.tolist(), classes.tolist(), strict=True):
    print(said["classes"][index], f"{score:.3f}", *(f"{side:.1f}" for side in box))
