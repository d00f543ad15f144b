"""Compacts real architectures, with Torch-Pruning beside torch-growl, and scores pretrained networks."""
