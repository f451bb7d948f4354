"""Petroff et al. 2020: a Bayesian network on the sphere itself."""
