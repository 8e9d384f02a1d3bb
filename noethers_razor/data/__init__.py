"""Trajectory data: schema, checks, readers, and the frame in which training takes place."""
