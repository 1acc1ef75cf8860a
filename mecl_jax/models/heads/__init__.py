"""Exit heads: modules from a feature map to logits."""
