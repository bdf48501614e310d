"""The section on tuning: what was tried for each operator, what was chosen, and what that changed."""

from __future__ import annotations

from .. import format as fmt
from .. import markup
from ..summary import at_the_edge
from ..tables import tuning_tables
from . import Content, section

_NOTE = (
    "Every operator was tried with the same SETTINGS, each from SEEDS, which no other run has. The "
    "choice is by the mean on the validation images; no trial reads the test images. Untuned: the setting "
    "that all operators share, from the same seeds as the tuned runs."
)
_MISSING = (
    "Incomplete: FOUND of ALL trials of tuning finished. Nothing is chosen, and nothing run, before all are."
)
EDGE = "The best setting of NAMES lies at the edge of what was tried: a better one may lie beyond it."


@section("Tuning", 22)
def tuning(content: Content) -> list[str]:
    """Two tables, how the choice was made, and a warning where the range was too narrow."""
    tuned = content.results.tuning
    if tuned is None:
        return []
    words = _NOTE.replace("SETTINGS", fmt.plural(len(tuned.settings), "setting"))
    several = "seed" if len(tuned.seeds) == 1 else "seeds"
    words = words.replace("SEEDS", f"{several} {fmt.listed([str(seed) for seed in tuned.seeds])}")
    every = len(tuned.settings) * len(tuned.seeds) * len(content.results.operators)
    missing = _MISSING.replace("FOUND", str(len(tuned.trials))).replace("ALL", str(every))
    edge = [name for name, chosen in tuned.chosen.items() if at_the_edge(chosen, tuned.settings)]
    return [
        markup.warning(missing) if len(tuned.trials) < every else "",
        markup.warning(EDGE.replace("NAMES", fmt.listed(edge))) if edge else "",
        *(markup.table(table) for table in tuning_tables(content.results)),
        markup.note(content.results.worded(words)),
    ]
