"""Callbacks: from a name in the configuration to a function that runs."""
