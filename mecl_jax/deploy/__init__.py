"""Deployment bundles: ONNX models that answer early without JAX."""
