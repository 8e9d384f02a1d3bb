"""Trajectory data: schema, checks, readers of files, and the frame in which training takes place."""
