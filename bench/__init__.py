"""Benchmarks side by side: the mock engine alone, nginx before it, our gateway before it."""
