"""Networks in files that other runtimes run: ONNX, OpenVINO's IR, torch.export."""

# The formats, each with the ending of its files.
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}
# What can be exported of a file.
PARTS = ("detector", "classifier", "backbone")
# What a file computes in. Fewer bits than 32 are for ONNX and OpenVINO.
PRECISIONS = ("float32", "float16", "int8")
