"""Times the proximal operators, and how time grows."""
