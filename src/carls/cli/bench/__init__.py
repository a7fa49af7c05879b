"""`carls bench`: how fast look-ups and pushes are, here or at your own bank."""

from carls.cli.bench.app import app

__all__ = ["app"]
