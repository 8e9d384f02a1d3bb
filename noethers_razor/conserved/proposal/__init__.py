"""Proposals: quantities that are constant along trajectories, independent and sparse."""
