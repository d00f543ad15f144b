"""Times and judges the clustering of rows."""
