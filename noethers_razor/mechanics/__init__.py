"""Phase space, fields, integrators, flows and orbits."""
