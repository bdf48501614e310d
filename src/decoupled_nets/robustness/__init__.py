"""What attacks do to a network, and whether the attacks can be trusted."""

from .attacks import Attacked, attack, attack_named, attacks
from .checks import Check, check, checks
from .evaluate import evaluate, work_of
from .report import Robustness
from .suites import SUITES, Stage, Suite
from .threat import Threat
from .victim import Victim

__all__ = [
    "SUITES", "Attacked", "Check", "Robustness", "Stage", "Suite", "Threat", "Victim", "attack",
    "attack_named", "attacks", "check", "checks", "evaluate", "work_of",
]  # fmt: skip
