"""The file that ships: made, read, compared with its model, and as a difference to its root."""
