"""Scan → archive: seeds the rows that were there before the stream."""
