"""Times compact networks in several runtimes, and the forms of a sum in exported files."""
