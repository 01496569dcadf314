"""What was measured, kept: results in a folder of files, their tables and their figures."""
