"""DVC's stages: each reads files and writes files; together they are the function that makes a release."""
