"""How a root comes to its weights: from labels, to be easily edited, and from what another network says."""
