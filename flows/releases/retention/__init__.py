"""What leaves the store and what never does: which evidence is spent, which weights are old, whose photo is erased."""
