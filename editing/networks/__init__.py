"""Networks, and what is put beside or inside them: those that come with Errata, adapters, slots of sentences, kinds."""
