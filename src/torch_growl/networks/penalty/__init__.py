"""penalty."""
