"""Settings of pytest for the notebooks."""


def pytest_collectstart(collector):
    """Leave HTML out when a notebook's outputs are compared: tables and players differ in it between versions.

    The text form of the same output is compared.
    """
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("text/html",)
