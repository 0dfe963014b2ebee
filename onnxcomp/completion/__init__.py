"""What a shell offers when Tab is pressed; nothing here loads NumPy, ONNX or a pass: that takes too long."""
