"""Tests of manifold_embedding."""
