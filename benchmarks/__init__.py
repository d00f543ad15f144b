"""Measurements of torch-growl beside its peers. Run from the repository's root: ``python -m benchmarks.NAME``."""
