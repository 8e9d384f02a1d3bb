"""Tests of `noethers_razor.manifold_embedding`."""
