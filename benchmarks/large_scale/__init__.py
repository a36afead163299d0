"""The paper's large-scale experiment: single edits of a network of ImageNet size."""
