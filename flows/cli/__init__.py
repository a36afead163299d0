"""The command line: `errata`, a file for each group of commands."""
