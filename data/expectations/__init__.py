"""What an operator expects of reports and splits, as tables for Great Expectations, and what was observed."""
