"""Correct an ImageNet network: what it brings, on photos that the user has."""
