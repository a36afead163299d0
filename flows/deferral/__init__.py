"""Deferral: which new corrections are left out when a candidate does not pass the gate, and why."""
