"""The tables of CIFAR-10: single edits, many at once, Editable Training, and what they cost."""
