"""Run folders, checkpoints, and checks of archives."""
