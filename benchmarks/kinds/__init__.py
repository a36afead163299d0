"""Kinds of failure: of image, seen through corruptions, and of concept."""
