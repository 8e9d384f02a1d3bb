"""Lie algebras of conserved quantities: structure constants, invariants, names."""
