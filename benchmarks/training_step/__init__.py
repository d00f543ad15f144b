"""Times and measures one training step with the penalty."""
