"""What a measurement of an engine tells: layers with their ONNX nodes, INT8 coverage, what got faster."""
