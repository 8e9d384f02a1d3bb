"""From learned generators to an answer: span, algebra, formulas, report. Knows no network."""
