"""The tables and pictures of the page on experiments."""
