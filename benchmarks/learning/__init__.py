"""Experiments that train networks: the paper's, those past it, and their baselines."""
