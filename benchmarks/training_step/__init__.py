"""training_step."""
