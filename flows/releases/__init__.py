"""Releases: immutable bundles in the store, what is live, and what people do about them afterwards."""
