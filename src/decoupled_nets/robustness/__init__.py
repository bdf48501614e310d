"""What attacks do to a network, and whether the attacks can be trusted."""

from .attacks import Attacked, attack, attack_named
from .attacks._nearest import Nearest
from .attacks.fab_t import fab_minimum
from .attacks.fmn import minimum
from .attacks.transfer import transferred
from .checks import Check, check
from .evaluate import evaluate, work_of
from .report import Robustness
from .suites import SUITES, Stage, Suite
from .threat import Threat
from .victim import Victim

__all__ = [
    "SUITES", "Attacked", "Check", "Nearest", "Robustness", "Stage", "Suite", "Threat", "Victim", "attack",
    "attack_named", "check", "evaluate", "fab_minimum", "minimum", "transferred", "work_of",
]  # fmt: skip
