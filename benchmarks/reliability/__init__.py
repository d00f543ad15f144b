"""Kills at every system call that changes a run's folder, each followed by ``--resume``."""
