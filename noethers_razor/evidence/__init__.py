"""The evidence of symmetries in closed form: linear models of the Hamiltonian, and symmetries as priors."""
