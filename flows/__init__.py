"""When and whether: the nightly flow, DVC's stages, the ledger, the gate, releases and the command line."""
