"""Checks and measures this package on a machine with a graphics processor.

    PYTHONPATH=src python scripts/gpu_check.py --out results [--limit 600] [--sections device,correct,...]

Every result is a line of ``results.jsonl`` in the folder as soon as it is known; a table comes last. A part
that fails leaves the end of its traceback and does not stop the others. ``--dry-run`` goes the same ways with
small sizes on a processor, with Triton's interpreter in the place of a card.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if "--dry-run" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"
os.environ.setdefault("TORCHINDUCTOR_MAX_AUTOTUNE", "0")
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "2")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("PYTHONUNBUFFERED", "1")

HERE = Path(__file__).resolve()
SECTIONS = ("device", "correct", "compiled", "eager", "layers", "dynamic", "sanitizer")
USUAL = SECTIONS[:-1]


class Report:
    """Appends results to a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __call__(self, section: str, name: str, **values: object) -> None:
        """Write one result at once."""
        line = json.dumps({"section": section, "name": name, **values}, default=str)
        with self.file.open("a") as out:
            out.write(line + "\n")
        print(line[:400], flush=True)

    @contextmanager
    def guarded(self, section: str, name: str) -> Iterator[None]:
        """What fails inside is a result, too."""
        start = time.time()
        try:
            yield
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            lines = traceback.format_exc().splitlines()[-15:]
            self(section, name, ok=False, error="\n".join(lines), seconds=round(time.time() - start, 1))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu_results"))
    parser.add_argument("--limit", type=float, default=1500, help="seconds; no part is begun behind it")
    parser.add_argument("--sections", default=",".join(USUAL), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--networks", default="cnn9,resnet50", help="of the compiled and eager sections")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


class Workers:
    """Processes of this script that each do one part, and leave their results in files of their own."""

    def __init__(self, options: argparse.Namespace, report: Report) -> None:
        self.options, self.report = options, report
        self.running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, part: str) -> None:
        """Begin ``section:name``."""
        command = [sys.executable, str(HERE), "--out", str(self.options.out), "--worker", part]
        command += ["--dry-run"] if self.options.dry_run else []
        log = (self.options.out / f"{_plain(part)}.log").open("wb")
        self.running.append((part, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)))

    def join(self, section: str, seconds: float) -> None:
        """Wait for those of a section, end what takes longer, and take their results over."""
        end = time.time() + seconds
        for part, process in [pair for pair in self.running if pair[0].startswith(section + ":")]:
            self.running.remove((part, process))
            try:
                process.wait(max(1.0, end - time.time()))
            except subprocess.TimeoutExpired:
                process.kill()
                self.report(section, part, ok=False, error=f"ended after {seconds:.0f} s")
            own = self.options.out / f"{_plain(part)}.jsonl"
            text = own.read_text() if own.exists() else ""
            with self.report.file.open("a") as out:
                out.write(text)
            print(text, end="", flush=True)
            if process.returncode and process.returncode > 0:
                tail = (
                    (self.options.out / f"{_plain(part)}.log").read_text(errors="replace").splitlines()[-15:]
                )
                self.report(section, part, ok=False, error="\n".join(tail))


def _plain(part: str) -> str:
    return part.replace(":", "_").replace("/", "_of_")


def main() -> None:
    """All sections, most important first."""
    options = parsed()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.worker:
        import _gpu_decoupled as decoupled

        report = Report(options.out / f"{_plain(options.worker)}.jsonl")
        decoupled.work(options.worker, options.out, options.dry_run, report)
        return
    start = time.time()
    report = Report(options.out / "results.jsonl")
    sections = [name for name in SECTIONS if name in options.sections.split(",")]
    networks = options.networks.split(",")
    workers = Workers(options, report)
    import _gpu_decoupled as decoupled

    def left() -> float:
        return options.limit - (time.time() - start)

    # What is compiled takes the longest, and processors only: it begins first, beside the checks.
    cases = decoupled.compiled_cases(networks, options.dry_run)
    if "compiled" in sections:
        for old in [*options.out.glob("ready_*"), *options.out.glob("compiled_*")]:
            old.unlink()
        for case in cases:
            workers.start(f"compiled:{case}")
    parts = 3 if options.dry_run else 8
    if "correct" in sections:
        for part in range(parts):
            workers.start(f"correct:{part}/{parts}")
    plan: dict[str, Callable[[], None]] = {
        "device": lambda: decoupled.device(report, options.dry_run),
        "correct": lambda: workers.join("correct", left()),
        "compiled": lambda: workers.join("compiled", left()),
        "eager": lambda: decoupled.eager(report, networks, options.dry_run),
        "layers": lambda: decoupled.layers(report, options.dry_run),
        "dynamic": lambda: _dynamic(report, options.dry_run),
        "sanitizer": lambda: _sanitizer(options, report),
    }
    for name in sections:
        if left() < 0:
            report(name, "left out", ok=False, error=f"behind the limit of {options.limit:.0f} s")
            continue
        began = time.time()
        with report.guarded(name, name):
            plan[name]()
        report(
            name, "section", seconds=round(time.time() - began, 1), since_start=round(time.time() - start, 1)
        )
    print_table(options.out / "results.jsonl")


def _dynamic(report: Report, dry: bool) -> None:
    if not (HERE.parent / "_gpu_dynamic.py").exists():
        report("dynamic", "left out", reason="scripts/_gpu_dynamic.py is not there")
        return
    import _gpu_dynamic as dynamic

    for part in ("correctness", "speed"):
        with report.guarded("dynamic", part):
            getattr(dynamic, part)(report)


def _sanitizer(options: argparse.Namespace, report: Report) -> None:
    """compute-sanitizer over a few cases of the kernels, in a process of its own."""
    command = [sys.executable, str(HERE), "--out", str(options.out), "--worker", "correct:0/12"]
    command += ["--dry-run"] if options.dry_run else []
    if not options.dry_run:
        command = ["compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    tail = (done.stdout + done.stderr).splitlines()[-8:]
    report("sanitizer", "memcheck", ok=done.returncode == 0, code=done.returncode, output="\n".join(tail))


def print_table(file: Path) -> None:
    """What was found, briefly."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    timed = {row["name"]: row for row in rows if row["section"] == "compiled" and "ms" in row}
    for name, row in timed.items():
        network, way = name.split()[0], " captured" * name.endswith("captured")
        if (plain := timed.get(f"{network} plain{way}")) is not None:
            row["ratio"] = row["ms"] / plain["ms"]
    print("\n" + "=" * 100)
    for row in rows:
        shown = {k: v for k, v in row.items() if k not in ("section", "name", "error", "rows")}
        flag = "FAILED " if row.get("ok") is False else ""
        if row["section"] == "correct" and row.get("ok") and "case" in row:
            continue  # counted below
        text = " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in shown.items())
        print(f"{flag}{row['section']:9s} {row['name'][:48]:48s} {text[:220]}")
        if flag and "error" in row:
            print("    " + row["error"].replace("\n", "\n    ")[-1500:])
    cases = [row for row in rows if row["section"] == "correct" and "case" in row]
    print(f"{sum(bool(row.get('ok')) for row in cases)} of {len(cases)} correctness cases agree")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    main()
