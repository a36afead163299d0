"""What only studies use: the paper's protocol and baselines that no night can run, comparison, tuning and figures.

Nothing outside this room imports it but the commands and benchmarks that make a study; a release never depends on it.
"""
