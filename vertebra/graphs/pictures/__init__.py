"""Pictures of graphs: one layout, for notebooks, documents, terminals and pages."""

from vertebra.graphs.pictures.picture import Picture

__all__ = ["Picture"]
