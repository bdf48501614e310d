"""Command-line options from configuration dataclasses."""

from __future__ import annotations

import difflib
import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import yaml
from jsonargparse import ArgumentParser, Namespace

from .._code import file_of, import_code, names_code
from .._options import defaults, from_flat, owners, parts, recipe_options
from .._registry import unknown
from .._spelling import on_command_line
from ..tasks import tasks
from ..training.config import identity

T = TypeVar("T")
_SWITCHES = "An option of {true,false} may stand alone (--download), or be denied (--no-download)."
RESULTS_FOLDER = "Folder for results (default: named after the options, in runs/)."


class Options(Generic[T]):
    """The options of one command: the fields of a dataclass and of its parts, and a few of its own.

    A field ``batch_size`` is the option ``--batch-size`` or ``--batch_size``; a truth value may stand alone
    (``--download``) or be denied (``--no-augment``). ``--config FILE.yaml`` sets any of them.

    Args:
        command: name of the command.
        about: one line for its help.
        config: the dataclass.
        out: what ``--out`` names; None: the command writes nothing.
        without: fields that are no options here, with the values that they have.
    """

    def __init__(
        self,
        command: str,
        about: str,
        config: type[T],
        out: str | None = RESULTS_FOLDER,
        without: dict[str, Any] | None = None,
    ) -> None:
        self.config, self.without = config, without or {}
        self.parser = _Parser(
            prog=f"decoupled {command}", description=about, epilog=_SWITCHES, allow_abbrev=False
        )
        self.parser.add_argument("--config", action="config", help="YAML file with any of the options below.")
        if out is not None:
            self.parser.add_argument("--out", type=str | None, help=out)
        inner = parts(config)
        for part in inner.values():
            self.parser.add_class_arguments(part, skip=set(self.without) & set(defaults(part)))
        self.parser.add_class_arguments(config, skip=set(inner))
        self.parser.set_defaults(
            {
                n: v
                for n, v in defaults(config).items()
                if owners(config)[n] in inner.values() and n not in self.without
            }
        )
        on_command_line(action.dest for action in self.parser._actions)

    def add_flag(self, name: str, about: str) -> None:
        """Add an option that is on or off and no part of the configuration."""
        self.parser.add_argument(f"--{name}", type=bool, default=False, help=about)

    def parse(self, argv: Sequence[str]) -> Namespace:
        """Parse; a bad option ends the program with a message.

        Raises:
            ValueError: there is no recipe of the name that is given.
        """
        words = self.spelled_out(argv)
        if "recipe" in owners(self.config):
            self.parser.set_defaults(recipe_options(self.config, recipe_named(words)))
        return self.parser.parse_args(words)

    def build(self, given: Namespace, argv: Sequence[str]) -> T:
        """The dataclass from parsed options, after importing the code that the command line names.

        Raises:
            ValueError: a value is out of range, or only a file names code: no file has code imported.
        """
        if plugin := given.get("plugin"):
            self._typed("plugin", plugin, argv)
            import_code(plugin)
        if names_code(model := given.get("model")):
            self._typed("model", model, argv)
            import_code(file_of(model), "model")
        own = {name: given[name] for name in owners(self.config) if name not in self.without}
        return from_flat(self.config, {**own, **self.without})

    def _typed(self, option: str, value: str, argv: Sequence[str]) -> None:
        """Refuse code that the user did not type: a file of options may name anything."""
        words = self.spelled_out(argv)
        pairs = zip(words, [*words[1:], ""], strict=True)
        if (f"--{option}={value}") not in words and (f"--{option}", value) not in pairs:
            raise ValueError(
                f"the configuration names the {option} {value!r}, which would be run; needed: --{option} "
                f"{value} on the command line"
            )

    def spelled_out(self, argv: Sequence[str]) -> list[str]:
        """The arguments in the parser's own spelling: underscores, and a value for every truth value."""
        switches = {action.dest for action in self.parser._actions if _is_switch(action)}
        spelled = []
        for i, word in enumerate(argv):
            if not word.startswith("--"):
                spelled.append(word)
                continue
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            follows = argv[i + 1] if i + 1 < len(argv) else "--"
            if name in switches and not equals and follows.lower() not in ("true", "false", "null"):
                spelled.append(f"--{name}=true")
            elif name.startswith("no_") and name[3:] in switches and not equals:
                spelled.append(f"--{name[3:]}=false")
            else:
                spelled.append(f"--{name}{equals}{value}")
        return spelled


def recipe_named(words: Sequence[str]) -> str | None:
    """The recipe that the words of a command line name, or else a file of ``--config``.

    It is looked for ahead, since its options are to be those that hold where nothing else is said.
    """
    found: dict[str, str | None] = {}
    for word, after in zip(words, [*words[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        value = value if equals else after
        if name == "--recipe":
            found["here"] = value
        elif name == "--config" and Path(value).is_file():
            told = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
            found["file"] = told.get("recipe") if isinstance(told, dict) else None
    return found.get("here", found.get("file"))


class _Parser(ArgumentParser):
    """A parser whose errors are one line."""

    def format_help(self, *args: Any, **options: Any) -> str:
        """The help, with options as they are usually typed, and the tasks that there are."""
        for action in self._actions:
            if action.dest == "task" and action.help:
                action.help = f"{action.help.split(' Known:')[0]} Known: {', '.join(tasks())}."
        return _hyphenated(super().format_help(*args, **options))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End the program, with what is wrong and where the options are listed."""
        print(
            f"{self.prog}: error: {self._told(message)}; {self.prog} --help lists the options",
            file=sys.stderr,
        )
        raise SystemExit(2)

    def _told(self, message: str) -> str:
        """What is wrong, with the options whose names are nearest to those that there are not."""
        names = [action.dest for action in self._actions]
        if in_file := re.fullmatch(r"Option '(.+)' is not accepted", message.strip()):
            return f"unknown option {_nearest(in_file[1], names)} in the file of --config"
        start, _, words = message.partition("unrecognized arguments: ")
        strange = [word.partition("=")[0] for word in words.split() if word.startswith("--")]
        if start or not strange:
            return _plainly(message)
        typed = [f"--{name}" for name in names]
        # Never the opposite: what was to be denied is.
        denied = [f"--no_{action.dest}" for action in self._actions if _is_switch(action)]
        hints = [_nearest(word, denied if word.startswith("--no_") else typed) for word in strange]
        return _hyphenated(f"unknown option{'s' * (len(strange) > 1)} {', '.join(hints)}")


def _nearest(name: str, known: Sequence[str]) -> str:
    """A name that there is not, with the nearest of those that there are."""
    bare = {option.removeprefix("--"): option for option in known}  # the dashes would make all names alike
    near = difflib.get_close_matches(name.removeprefix("--").lower(), bare, n=1)
    return f"{name} (did you mean {bare[near[0]]}?)" if near else name


def _is_switch(action: Any) -> bool:
    """Whether an option is a truth value, which may stand alone."""
    return getattr(action, "_typehint", None) in (bool, bool | None) or action.type is bool


def _hyphenated(text: str) -> str:
    return re.sub(r"--\w+", lambda found: found[0].replace("_", "-"), text)


def _plainly(message: str) -> str:
    """What the parser found wrong, in this package's words."""
    key, value = re.search(r'Parser key "(\w+)"', message), re.search(r"(?:Given|Got) value: (.*)", message)
    kinds = re.findall(r"Expected an? (?:<class '(\w+)'>|typing\.Literal\[(.*?)\])", message)
    if not key or not value or not kinds:
        words = re.sub(r'Parser key "(\w+)"', r"--\1", " ".join(message.split()))
        return _hyphenated(words)
    known = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false"}
    needed = [known.get(kind, kind) or f"one of {names}" for kind, names in kinds if kind != "NoneType"]
    return f"--{key[1].replace('_', '-')} {value[1]} received; needed: {' or '.join(needed)}"


def default_folder(name: str, config: Any, *, but: Sequence[str] = (), also: Sequence[str] = ()) -> Path:
    """``runs/<name>-<digest>``: the same options lead to the same folder, others to another.

    Options that have their default do not count: a later version's further ones leave the folder as it is.

    Args:
        name: what was done.
        config: its options.
        but: options that may differ in a folder.
        also: what else tells folders apart.
    """
    usual = defaults(type(config))
    own = {
        field: value
        for field, value in identity(config).items()
        if field not in but and value != usual.get(field)
    }
    digest = hashlib.sha256(repr([*sorted(own.items()), *also]).encode()).hexdigest()
    name = re.sub(r"[^\w.-]+", "-", name).strip("-.")  # of a network, which may be a path or have colons
    return Path("runs") / f"{name}-{digest[:8]}"


def choose(kind: str, name: str | None, known: dict[str, T]) -> T:
    """The entry of that name.

    Raises:
        ValueError: there is none; the message lists what there is.
    """
    if name not in known:
        raise ValueError(unknown(kind, name, list(known)))
    return known[name]
