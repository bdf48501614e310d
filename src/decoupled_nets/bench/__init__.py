"""Benchmarks: ratios measured side by side, after the result was checked."""
