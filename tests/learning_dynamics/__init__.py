"""Tests of learning_dynamics."""
