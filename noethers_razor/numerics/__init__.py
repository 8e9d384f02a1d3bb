"""Mathematics that knows no physics: polynomials, expressions, subspaces, linear algebra, budgets."""
