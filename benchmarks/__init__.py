"""Comparisons of carls with other software: `make bench`, or `python -m benchmarks.lookup --help`."""
