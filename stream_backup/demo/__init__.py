"""The whole story on an embedded AWS on this machine."""
