"""The whole story on an embedded AWS on this machine: `story.py` tells it, the other modules are what it needs."""
