"""Archive → plan → target: a new table, the live table, a file."""
