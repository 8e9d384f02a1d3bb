"""Tests of conserved."""
