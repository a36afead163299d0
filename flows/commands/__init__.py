"""The commands of `errata`, by subject; importing a module registers its commands."""
