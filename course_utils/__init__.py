"""Tools of the course *Multi-label audio classification*: see the README for the map of rooms."""

__version__ = "0.1.0"
