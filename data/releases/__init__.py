"""What a release consists of: ledger, replay set, manifest and its signature, and the records of how it was made and judged."""
