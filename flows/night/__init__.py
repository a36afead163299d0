"""The night: from the reports in the inbox to a release, step by step, and the making of a new root."""
