"""`carls mtl`: task nodes, and how far they are together."""

from carls.cli.mtl.app import app

__all__ = ["app"]
