"""Networks in files that other runtimes run: ONNX, OpenVINO's IR, torch.export."""
