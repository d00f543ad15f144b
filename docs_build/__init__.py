"""What ``make docs`` needs: pages made at build time, docstrings as Markdown, pictures, the link check."""
