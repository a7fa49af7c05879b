"""`carls demo`: a bank, a trainer and a maker learn together on real data."""

from carls.cli.demo.app import app

__all__ = ["app"]
