"""tying."""
