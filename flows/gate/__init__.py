"""The gate: what a candidate must prove on images that no report may touch before it may be released."""
