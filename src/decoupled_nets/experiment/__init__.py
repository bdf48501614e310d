"""Experiments: many jobs in folders of their own, done by any number of workers on any number of machines."""

from .config import EngineConfig
from .dispatch import Failure, Outcome, execute
from .job import Job, Work, check_result, check_threads, result_of, run_one

__all__ = [
    "EngineConfig",
    "Failure",
    "Job",
    "Outcome",
    "Work",
    "check_result",
    "check_threads",
    "execute",
    "result_of",
    "run_one",
]
