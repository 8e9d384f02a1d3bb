"""Run folders, checkpoints and safe archives."""
