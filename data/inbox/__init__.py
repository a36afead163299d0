"""From a report as it was put to a claim that can be used, or to a refusal with its reason."""
