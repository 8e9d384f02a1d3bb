"""The network, its posterior and the lower bound."""
