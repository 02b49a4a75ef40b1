"""What a model is: its card, what its ONNX file says of itself, and the two resolved into one ModelSpec."""
