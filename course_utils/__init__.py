"""Tools of the course *Multi-label audio classification*: the README has a map of its modules."""

__version__ = "0.1.0"
