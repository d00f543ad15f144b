"""The experiments, one command each."""
