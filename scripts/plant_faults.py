"""Plant faults, one at a time, in a copy of the package, and report which of them the nearest tests miss.

A fault is one line of scripts/_faults.py: a file of the package, a text that stands in it once, what takes
its place, and the tests that should fail. The tests run in a copy; the working tree is not touched. torch is
imported once, and every fault is tried in a fork of that process.

    nice -n 10 python scripts/plant_faults.py                 # all
    python scripts/plant_faults.py --only 'data/*'            # those whose file matches
    python scripts/plant_faults.py --check                    # only whether every text stands in its file

Each fault adds a line to the record; a second call goes on with those that are missing.
"""

from __future__ import annotations

import argparse
import collections
import fnmatch
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from _faults import FAULTS, Fault

ROOT = Path(__file__).parents[1]
PACKAGE = "src/decoupled_nets"
#: What the copy needs beside the tests that it runs.
COPIED = ("src", "tests", "scripts", "docs", "README.md", "pyproject.toml")
OUTPUT = "output.txt"
CAUGHT, SURVIVED, SLOW, STALE = "caught", "survived", "too slow", "does not apply"


def main(argv: Sequence[str] | None = None) -> int:
    """Plant what is asked for; the exit status is 1 if a fault survived or does not apply."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="*", help="glob on the file")
    parser.add_argument("--check", action="store_true", help="plant nothing; say which faults do not apply")
    parser.add_argument("--record", type=Path, default=Path("runs/faults.jsonl"))
    parser.add_argument("--seconds", type=float, default=600.0, help="longest time for the tests of a fault")
    arguments = parser.parse_args(argv)
    chosen = [fault for fault in FAULTS if fnmatch.fnmatch(fault.file, arguments.only)]
    stale = [fault for fault in chosen if not applies(ROOT, fault)]
    for fault in stale:
        print(f"{STALE}: {fault}")
    if arguments.check:
        return int(bool(stale))
    found = dict.fromkeys(stale, STALE)
    done = results(arguments.record)
    with tempfile.TemporaryDirectory() as folder:
        copy = copied(ROOT, Path(folder))
        for fault in chosen:
            if fault in found:
                continue
            if str(fault) not in done:
                result, seconds = planted(copy, fault, arguments.seconds)
                line = {"fault": str(fault), "result": result, "seconds": round(seconds, 1)}
                with arguments.record.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print(f"{result} in {seconds:.0f} s: {fault}", flush=True)
            found[fault] = done.get(str(fault)) or result
    print("\n".join(summary(found)))
    return int(any(result != CAUGHT for result in found.values()))


def results(record: Path) -> dict[str, str]:
    """What a record holds already, by fault."""
    # Not by _record.py: the package must not be imported here, before the copy of it is.
    record.parent.mkdir(parents=True, exist_ok=True)
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    return {line["fault"]: line["result"] for line in map(json.loads, lines)}


def summary(found: dict[Fault, str]) -> list[str]:
    """How many faults of each room were caught, and those that were not."""
    rooms: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for fault, result in found.items():
        rooms[fault.file.partition("/")[0]][result] += 1
    lines = [f"{room}: {counts[CAUGHT]} of {counts.total()} caught" for room, counts in sorted(rooms.items())]
    missed = [f"{result}: {fault}" for fault, result in found.items() if result != CAUGHT]
    return [*lines, f"together: {len(found) - len(missed)} of {len(found)} caught", *missed]


def applies(root: Path, fault: Fault) -> bool:
    """Whether the text stands in the file, once."""
    path = root / PACKAGE / fault.file
    return path.is_file() and path.read_text(encoding="utf-8").count(fault.old) == 1


def copied(root: Path, folder: Path) -> Path:
    """A copy of what the tests need."""
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (root / name).exists():
            shutil.copy(root / name, folder / name)
    return folder


def planted(copy: Path, fault: Fault, seconds: float) -> tuple[str, float]:
    """Run a fault's tests with it in the copy, which is whole again afterwards; the result and the time."""
    path = copy / PACKAGE / fault.file
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace(fault.old, fault.new), encoding="utf-8")
    start = time.monotonic()
    try:
        status = run(copy, fault.tests, seconds)
    finally:
        path.write_text(whole, encoding="utf-8")
    took = time.monotonic() - start
    if status is None:
        return SLOW, took
    if status not in (0, 1):  # 1: a test failed
        raise RuntimeError(f"pytest ended with {status}; {(copy / OUTPUT).read_text()}")
    return CAUGHT if status else SURVIVED, took


def run(copy: Path, tests: Sequence[str], seconds: float) -> int | None:
    """The status of pytest in a fork of this process; None if it took too long."""
    import pytest  # once, before the fork
    import pytorch_lightning  # noqa: F401
    import torch  # noqa: F401

    child = os.fork()
    if child == 0:
        os.setsid()  # so that what a test starts ends with it
        status = 9
        try:
            status = _child(copy, tests, pytest)
        except BaseException:  # nothing of the parent's may run in the child
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    end = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.killpg(child, 9)
            os.waitpid(child, 0)
            return None
        time.sleep(0.1)


def _child(copy: Path, tests: Sequence[str], pytest) -> int:
    os.chdir(copy)
    source = str(copy / "src")
    sys.path.insert(0, source)
    # An editable install answers before the path does.
    sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__]
    os.environ["PYTHONPATH"] = source  # of processes that tests start
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True  # two faults within a second would have the same time stamp
    with (copy / OUTPUT).open("w") as output:
        for number in (1, 2):
            os.dup2(output.fileno(), number)
        import decoupled_nets

        if not Path(decoupled_nets.__file__).is_relative_to(copy):
            print(f"{decoupled_nets.__file__} was imported in place of the copy: an editable install?")
            return 9
        # Plugins of pytest that came with torch's imports are not rewritten, which it warns of.
        options = ["-x", "-n", "0", "-m", "not slow and not sweep and not long"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        return int(pytest.main([*options, *tests]))


if __name__ == "__main__":
    sys.exit(main())
