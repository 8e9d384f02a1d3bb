"""Proposals: which quantities are constant along trajectories, independent and sparse."""
