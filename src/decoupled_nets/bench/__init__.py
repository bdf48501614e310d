"""Benchmarks: ratios measured side by side, after the result was checked."""

from .config import BenchConfig
from .ddf import DdfBenchConfig, bench_ddf
from .run import bench_conv

__all__ = ["BenchConfig", "DdfBenchConfig", "bench_conv", "bench_ddf"]
