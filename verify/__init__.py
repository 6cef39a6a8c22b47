"""Live table ↔ archive: whether what the archive says is there now is what is there."""
