"""Variational manifold embedding: fit a smooth manifold through data by a functional of their density."""

from noethers_razor._optional import extra

extra("sklearn", "sklearn", "a manifold embedding")

from noethers_razor.manifold_embedding.estimator import VariationalManifoldEmbedding  # noqa: E402
from noethers_razor.manifold_embedding.report import EmbeddingReport  # noqa: E402

__all__ = ["EmbeddingReport", "VariationalManifoldEmbedding"]
