"""torch-growl: learn which inputs of every layer to drop and which to share, then run the smaller network left."""
