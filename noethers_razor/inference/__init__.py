"""From trajectories to a fit: stages, training, result, prediction, comparison."""
