"""Benchmarks: ratios measured side by side, after the result was checked."""

from .config import BenchConfig
from .run import bench_conv

__all__ = ["BenchConfig", "bench_conv"]
