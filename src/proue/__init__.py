"""Proue: the generative-AI platform that French universities share."""

__version__ = "0.1.0"
