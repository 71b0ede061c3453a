"""Certified radii: what no perturbation within them can change, of classifiers smoothed by noise and of their mixtures."""
