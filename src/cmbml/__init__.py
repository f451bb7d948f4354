"""Simulate microwave skies, clean the CMB out of them, compare the methods."""

__version__ = "0.1.0"
