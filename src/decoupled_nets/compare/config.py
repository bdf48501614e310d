"""What the user says about a comparison."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from typing import Any

from .._options import Flat, defaults, flat, owners, recipe_options, words_of
from ..data import DataConfig
from ..experiment import EngineConfig
from ..models.joint import OWN as JOINT
from ..models.joint import UPSAMPLER
from ..models.layers import PLAIN, is_decoupled
from ..networks import form_of
from ..nn.dynamic import takes_squeeze_ratio
from ..ops.decoupled.operator import resolve_operator
from ..robustness import Threat
from ..tasks import DEFAULT, find_task
from ..training import AdversarialConfig, MachineConfig, NetworkConfig, OptimConfig, TrainConfig
from ..training.adversarial_config import check_machine_for
from ..training.config import check_squeeze_ratio, check_taken, named, usual_operator
from .tuning import SEEDS_APART, settings
from .variants import OWN_WAY, Variant, of_operators, of_upsamplers, variants

_WIDTH = 0.125
#: Options that only add runs to a comparison, or that no run has: its folder's name does not depend on them.
ADDS = ("seeds", "margin", "tune", "tune_seeds")


@dataclass(frozen=True)
class CompareConfig(Flat):
    """A comparison of operators.

    Args:
        task: What the networks learn: `classify` (a label an image) or another task.
        data: The images.
        network: The network.
        optim: The optimisation.
        adversarial: Attacks on the images that all networks learn from.
        machine: What it runs on.
        engine: Who does the runs.
        recipe: Name of a recipe, whose options take the place of the defaults; an option that is given goes
            before it.
        operators: Names separated by commas, the baseline first; `conv` is plain convolution. Residual
            networks (`--model ddf_cifar_resnet26`) also take `dw` (depth-wise), `ddf` and its variants
            `ddf-add`, `ddf-spatial`, `ddf-channel`, `ddf-paper`, `ddf-filter`, `ddf-batch`,
            `ddf-sigmoid`; other libraries' networks take all of them but `dw`.
        variants: What is compared in place of operators, the baseline first: labels and their options, as in
            `plain: operator=conv; projected: operator=tanh-cos project_every=100`. Options of the network,
            the optimisation and adversarial training may differ, and the operator.
        upsamplers: What is compared in place of operators, the baseline first: names that `upsample` takes,
            and `own` for the network's own way. All have the one operator that `operators` names, else
            `conv`.
        seeds: Runs of each operator, with the seeds `seed`, `seed + 1`, ...
        margin: Differences up to this do not matter, in percentage points or the metric's unit:
            `alike`. Without it 0.5, of depth 0.01.
        tune: Options of the optimisation and values to try for every operator, on validation images, as in
            `lr=1e-3,3e-3,1e-2`; several options are separated by spaces, and every combination is tried.
        tune_seeds: Seeds that each setting is tried with; no run has one of them.
        threat: Norm and radius of the quick attacks, in pixels in [0, 1]: `linf:8/255`, `l2:0.5`.
        attack_images: Test images that are attacked with the suite `quick`; 0 none. It says little of
            robustness: `decoupled attack` says more of the same networks.
        feature_epochs: Epochs of the network with two-dimensional features; 0 leaves the picture out.

    Raises:
        ValueError: an operator is unknown or named twice, or a number is out of range.
    """

    # A comparison is many runs: its defaults make them small enough for two processor cores.
    task: str = DEFAULT
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(width=_WIDTH))
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(epochs=3, lr=3e-3))
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    recipe: str | None = None
    operators: str = "conv,tanh-cos,ball-cos,seg-sqcos"
    variants: str = ""
    upsamplers: str = ""
    seeds: int = 1
    margin: float | None = None
    tune: str = ""
    tune_seeds: int = 3
    threat: str = "linf:8/255"
    attack_images: int = 0
    feature_epochs: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", named(self.network, self.task, _WIDTH))
        check_taken(self)
        check_machine_for(self.adversarial, self.machine)
        names = self.names
        self._check_compared(names)
        check_squeeze_ratio(self.network.squeeze_ratio, [one.options["operator"] for one in self.compared])
        for name, least in (("seeds", 1), ("tune_seeds", 1), ("attack_images", 0), ("feature_epochs", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} received; needed: at least {least}")
        if self.margin is None:
            object.__setattr__(self, "margin", find_task(self.task).margin)
        assert self.margin is not None
        if not self.margin > 0:
            raise ValueError(f"margin = {self.margin} received; needed: a positive number")
        for setting in settings(self.tune):  # refuses what cannot be tried
            self._check_tuned(setting)
            self.run(names[0], self.machine.seed, **setting)
        if self.attack_images and "attacks" not in find_task(self.task).sections:
            raise ValueError(
                f"attack_images = {self.attack_images} received; needed: 0, as the attacks are on classifiers"
                f" and the task is {self.task}"
            )
        Threat.parse(self.threat)  # refuses what is none
        if self.machine.devices * self.machine.num_nodes != 1:
            raise ValueError(
                f"devices = {self.machine.devices} and num_nodes = {self.machine.num_nodes} received;"
                " needed: 1 and 1, as a run of a comparison runs in one process; jobs=2 does two at a time"
            )

    def _check_tuned(self, setting: dict[str, Any]) -> None:
        for one in self.compared:
            if both := sorted(set(one.options) & set(setting)):
                raise ValueError(
                    f"tune = {self.tune!r} received, and {one.label} has its own {both[0]}; needed: options"
                    " that no variant sets, as tuning would put one value in the place of all"
                )

    def _check_compared(self, names: list[str]) -> None:
        if self.upsamplers and (self.variants or self.network.upsample):
            other = "variants" if self.variants else "upsample"
            raise ValueError(f"upsamplers = {self.upsamplers} and {other} received; needed: one of the two")
        if self.upsamplers and "," in self.operators and not self._usual_operators:
            raise ValueError(
                f"operators = {self.operators} and upsamplers = {self.upsamplers} received; needed: one"
                " operator, as the upsamplers are compared; variants sets any pairs side by side"
            )
        if self.upsamplers and self.network.model == JOINT and {OWN_WAY, UPSAMPLER} <= set(names):
            raise ValueError(
                f"upsamplers = {self.upsamplers} received for model {JOINT}, whose own is {UPSAMPLER};"
                f" needed: one of the two, {OWN_WAY} or {UPSAMPLER}"
            )
        if self.variants and self.operators != defaults(CompareConfig)["operators"]:
            raise ValueError(
                f"operators = {self.operators} and variants = {self.variants!r} received; needed: one of the"
                " two, as a variant has its own operator"
            )
        # Refuses what is no operator's name; one operator may be written in several ways.
        asked = [one.options["operator"] for one in self.compared]
        asked = [str(resolve_operator(name)) if is_decoupled(name) else name for name in asked]
        own = names if self.variants or self.upsamplers else asked
        if not names or len(set(own)) != len(names):
            what = "upsamplers" if self.upsamplers else "operators"
            raise ValueError(f"{what} = {getattr(self, what)!r} received; needed: each once")
        if self.variants or self.upsamplers:
            for name in names:
                self.run(name, self.machine.seed)  # refuses options out of range

    @property
    def compared(self) -> list[Variant]:
        """What is compared, the baseline first: operators, or variants with all that their runs change."""
        if self.upsamplers:
            operator = PLAIN if self._usual_operators else self.operators.strip()
            return of_upsamplers([name.strip() for name in self.upsamplers.split(",")], operator)
        if not self.variants:
            return of_operators([name.strip() for name in self.operators.split(",")])
        return [
            replace(one, options={**one.options, "operator": one.options["operator"] or self._usual(one)})
            for one in variants(self.variants)
        ]

    @property
    def _usual_operators(self) -> bool:
        return self.operators == defaults(CompareConfig)["operators"]

    def _usual(self, variant: Variant) -> str:
        return usual_operator(variant.options.get("model", self.network.model))

    @property
    def names(self) -> list[str]:
        """The operators' names or the variants' labels, in the order given."""
        return [one.label for one in self.compared]

    def variant(self, label: str) -> Variant:
        """The operator or the variant of that label.

        Raises:
            KeyError: there is none.
        """
        return {one.label: one for one in self.compared}[label]

    @property
    def all_seeds(self) -> list[int]:
        """The seeds of the runs of each operator."""
        return [self.machine.seed + i for i in range(self.seeds)]

    @property
    def trial_seeds(self) -> list[int]:
        """The seeds that each setting is tried with."""
        return [SEEDS_APART + self.machine.seed + i for i in range(self.tune_seeds)]

    @property
    def command(self) -> str:
        """The command line of this comparison: the options that are not the defaults, wherever it runs."""
        usual = flat(CompareConfig.of(task=self.task, model=self.network.model))
        usual.update(task=DEFAULT, model=find_task(self.task).model)
        usual.update(recipe_options(CompareConfig, self.recipe))
        kinds = owners(CompareConfig)
        own = {name: value for name, value in self.flat().items() if kinds[name] is not EngineConfig}
        return shlex.join(["decoupled", "compare", *words_of(own, usual)])

    def run(self, label: str, seed: int, **changes: Any) -> TrainConfig:
        """The configuration of one training run of an operator or variant; `changes` by their flat names."""
        own = self.flat()
        shared = {name: own[name] for name in defaults(TrainConfig) if name in own}
        options = self.variant(label).options
        if form_of(str(options.get("model", ""))) == "library" and self.network.width == _WIDTH:
            shared.pop("width")  # a comparison's default, which others' networks do not have
        if not takes_squeeze_ratio(options["operator"]):
            shared.pop("squeeze_ratio")  # for those among what is compared that have one
        return TrainConfig.of(**{**shared, **options, "seed": seed, **changes})
