"""Exit heads: from a feature map to logits."""
