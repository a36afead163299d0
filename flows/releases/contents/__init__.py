"""What a release holds beside its model: manifest, report, cards, bills of materials, signature, files for Triton."""
