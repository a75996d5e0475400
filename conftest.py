"""Settings of pytest for the notebooks."""


def pytest_collectstart(collector):
    """Leave out, when a notebook's outputs are compared, what says nothing about the lesson.

    HTML: tables and players differ in it between versions, and the text form of the same output is compared. The size of
    a figure in dots: it depends on the resolution that a user has chosen in matplotlibrc.
    """
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("text/html",)
        collector.sanitize_patterns[r"<Figure size [\d.]+x[\d.]+ with"] = "<Figure with"
