"""Graphs over keys: who is whose neighbour, one link away or several."""

from carls.graphs.graph import Graph
from carls.graphs.lists import NeighbourLists, neighbour_columns
from carls.graphs.pagerank import pagerank_neighbours

__all__ = ["Graph", "NeighbourLists", "neighbour_columns", "pagerank_neighbours"]
