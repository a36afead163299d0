"""The method: constraints, editors, training, metrics and export. Imports torch and numpy, never Prefect, DVC or S3."""
