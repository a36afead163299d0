"""What a release consists of: ledger, replay set, manifest and its signature; how it was made, and looked at."""
