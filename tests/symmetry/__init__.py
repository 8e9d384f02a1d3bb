"""Tests of symmetry."""
