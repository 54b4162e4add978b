"""Winning tickets from little data: iterative magnitude pruning, and what the book needs to judge it."""

__version__ = "0.1.0"
