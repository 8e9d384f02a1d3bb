"""Lie algebras of quadratic conserved quantities: structure constants, invariants and names."""
