"""Whom to believe: the doubt of each claim, and how many people it takes."""
