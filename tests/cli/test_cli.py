"""The command line: help, spelling, plugins, errors on one line."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from decoupled_nets import __version__, last_backend, unregister_magnitude, use_backend
from decoupled_nets.cli import doctor
from decoupled_nets.cli.main import COMMANDS, main
from decoupled_nets.cli.options import Options, default_folder
from decoupled_nets.ops import backend
from decoupled_nets.tasks import tasks
from decoupled_nets.training import TrainConfig


def parse(*argv: str) -> TrainConfig:
    options = Options("train", "", TrainConfig)
    return options.build(options.parse(argv), argv)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize("command", ["train", "compare", "corrupt", "export", "plot", "bench"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert f"decoupled {command}" in out
    assert not re.search(r"--\w+_", out)


def test_spellings() -> None:
    assert parse("--batch-size", "7").optim.batch_size == parse("--batch_size=7").optim.batch_size == 7
    assert parse("--download").data.download
    assert not parse("--no-augment", "--epochs", "2").data.augment
    assert not parse("--batch-norm", "false").network.batch_norm
    assert parse("--relu", "--radius", "learned").network.radius == "learned"
    assert parse("--radius", "2.5").network.radius == 2.5
    assert parse().network.weighting is None
    assert parse("--weighting", "product").network.weighting == "product"


def test_yaml_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"epochs": 3, "relu": False}))
    config = parse("--config", str(path), "--epochs", "4")
    assert (config.optim.epochs, config.network.relu) == (4, False)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "unknown command 'trian' (did you mean 'train'?)"),
        (["train", "--operator", "tnah-cos"], "did you mean 'tanh'?"),
        (["train", "--data", "no-such-place"], "no-such-place"),
        (["train", "--epochs", "0"], "--epochs 0 received"),
        (["train", "--train-size", "0"], "--train-size 0 received; needed: at least 1"),
        (["compare", "--operators", "conv,conv"], "needed: each once"),
        (["plot", "operator"], "did you mean 'operators'?"),
        (["plot", "operators", "--operators", "tanh"], "needed: '<magnitude>-<angle>'"),
        (["bench", "convolution"], "unknown benchmark"),
        (["doctor", "--all"], "needed: no options"),
        (["train", "--resume", "--out", "no-such-run"], "no-such-run holds no run to resume"),
        (["train", "--plugin", "no_such_module"], "--plugin 'no_such_module' received"),
        (["train", "--plugin", "no_such_file.py"], "needed: a file that exists"),
    ],
)
def test_errors_are_one_line(
    argv: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("argv", [["--epoch-count", "3"], ["--epochs", "many"], ["--optimizer", "lion"]])
def test_bad_options_end_the_program(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", *argv])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("decoupled train: error: ")
    assert argv[0] in line
    assert line.endswith("decoupled train --help lists the options")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--epoch", "3", "--lr=0.1"], "unknown option --epoch (did you mean --epochs?);"),
        (["--EPOCHS", "3", "--d", "1"], "unknown options --EPOCHS (did you mean --epochs?), --d;"),
        (["--batchsize=3"], "unknown option --batchsize (did you mean --batch-size?);"),
        (
            ["--zzz", "1", "--val_sizes", "2"],
            "unknown options --zzz, --val-sizes (did you mean --val-size?);",
        ),
        (["--no-augmnet"], "unknown option --no-augmnet (did you mean --no-augment?);"),
    ],
)
def test_the_nearest_option_is_suggested(argv, told, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["train", *argv])
    assert told in capsys.readouterr().err


def test_the_nearest_option_of_a_file_is_suggested(tmp_path, capsys) -> None:
    (tmp_path / "options.yaml").write_text("train-size: 4")
    with pytest.raises(SystemExit):
        main(["train", "--config", str(tmp_path / "options.yaml")])
    told = capsys.readouterr().err
    assert "unknown option train-size (did you mean train_size?) in the file of --config;" in told


@pytest.mark.parametrize("command", ["train", "compare", "data"])
def test_help_lists_the_tasks(command, capsys) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"Known: {', '.join(tasks())}." in " ".join(capsys.readouterr().out.split())


def test_what_holds_no_run_is_not_resumed(tmp_path, capsys) -> None:
    for options, told in (("operators: conv\ntask: classify", "a comparison"), ("table: x", "(table)")):
        (tmp_path / "config.yaml").write_text(options)
        assert main(["train", "--resume", "--out", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert "folder of" in error


def test_the_path_of_data_stands_anywhere(tmp_path, capsys) -> None:
    said = []
    for words in (["--no-augment", "sample"], ["sample", "--val-size", "20"], ["--val-size=20", "sample"]):
        assert main(["data", *words]) == 0
        said.append(capsys.readouterr().out)
    assert said[1] == said[2] != said[0]
    assert main(["data", "sample", "--val-size", "20", "synthetic"]) == 2
    assert "sample, synthetic received; needed: one data set" in capsys.readouterr().err
    for named in (["--data", "synthetic"], ["--data=synthetic"]):
        assert main(["data", *named, "sample"]) == 2
        assert "sample, synthetic received; needed: one data set" in capsys.readouterr().err


def test_a_path_behind_a_file_of_options_goes_before_its_data(tmp_path, capsys) -> None:
    (tmp_path / "options.yaml").write_text("data: sample")
    assert main(["data", "--config", str(tmp_path / "options.yaml"), str(tmp_path / "none")]) == 2
    assert f"{tmp_path / 'none'} does not exist" in capsys.readouterr().err


def test_what_an_option_takes(capsys: pytest.CaptureFixture[str]) -> None:
    for argv, needed in (
        (["train", "--train-size", "few"], "--train-size few received; needed: a whole number;"),
        (["train", "--width", "wide"], "--width wide received; needed: a number;"),
        (
            ["export", "x.ckpt", "--format", "onx"],
            "--format onx received; needed: one of 'onnx', 'pt2', 'aoti'",
        ),
        (["data", "--config", "none.yaml"], "--config: File does not exist"),
    ):
        with pytest.raises(SystemExit):
            main(argv)
        assert needed in capsys.readouterr().err


def test_an_interrupt_while_a_command_is_imported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", interrupted)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == "\ndecoupled train: interrupted.\n"


def test_a_plugin_registers_operators(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "my_operators.py"
    plugin.write_text(
        "import decoupled_nets as dn\n"
        "dn.register_magnitude('fourth', lambda norm, radius, alpha, beta: alpha * (norm / radius) ** 0.25)\n"
    )
    out = tmp_path / "plots"
    argv = ["plot", "operators", "--plugin", str(plugin), "--operators", "fourth-cos", "--out", str(out)]
    try:
        assert main(argv) == 0
    finally:
        unregister_magnitude("fourth")
    assert {p.name for p in out.iterdir()} == {"functions.png", "geometry.png"}
    assert str(out / "functions.png") in capsys.readouterr().out


def test_a_run_with_a_plugin_resumes_only_when_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, out = tmp_path / "fifths.py", tmp_path / "run"
    plugin.write_text(
        "import decoupled_nets as dn\n"
        "dn.register_magnitude('fifth', lambda norm, radius, alpha, beta: alpha * (norm / radius) ** 0.2)\n"
    )
    small = ["--data", "synthetic", "--width", "0.03", "--epochs", "1", "--train-size", "64"]
    try:
        argv = ["train", *small, "--operator", "fifth-cos", "--plugin", str(plugin), "--out", str(out)]
        assert main(argv) == 0
        unregister_magnitude("fifth")
        assert main(["train", "--resume", "--out", str(out)]) == 2
        assert f"needed: --plugin {plugin}" in capsys.readouterr().err
        assert main(["train", "--resume", "--out", str(out), "--plugin", str(plugin)]) == 0
    finally:
        unregister_magnitude("fifth")


def test_traceback_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="needed: at least 1"):
        main(["train", "--epochs", "0", "--traceback"])


def test_doctor(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cifar10").mkdir()
    monkeypatch.setenv("DECOUPLED_DATA", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "torch" in out
    assert "9,000 + 1,000 + 2,000 images" in out
    last = last_backend()
    assert last is not None
    assert f": {last.backend} ({last.reason})" in out
    assert "cifar10" in out
    assert "cuda: cos, sqcos, power, spline" in out  # the angles with kernels there


def test_doctor_says_that_everything_works(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DECOUPLED_DATA", raising=False)
    monkeypatch.setattr(doctor, "choices", lambda: [("ddf", "cpu", "cpu", "they fit")])
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("\neverything works\n")


def test_doctor_lists_problems_and_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DECOUPLED_DATA", "no/such/folder")
    monkeypatch.setattr(doctor, "_devices", lambda: ["cpu", "cuda:0"])
    monkeypatch.setattr(
        doctor,
        "choices",
        lambda: [
            ("ddf", "cpu", "composed", "they were not built"),
            ("ddf", "cuda:0", "composed", "Triton is not installed"),
        ],
    )
    monkeypatch.setattr(doctor, "_failure", lambda device: None if device == "cpu" else "out of memory")
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "cuda:0: composed (Triton is not installed)" in out
    head, *lines = out[out.index("4 problems:") :].splitlines()
    assert head == "4 problems:"
    for line, words in zip(
        lines,
        (("not built", "C++ compiler"), ("cuda:0", "pip install triton"),
         ("layers fail on cuda:0 (out of memory)", "install torch"), ("no/such/folder", "create it")),
        strict=True,
    ):  # fmt: skip
        assert all(word in line for word in words)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("composed", "run without their kernels, slower, on cpu (it was asked for)"),
        ("triton", "do not run on cpu"),
    ],
)
def test_doctor_under_a_choice_of_backend(
    name: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DECOUPLED_DATA", raising=False)
    monkeypatch.setattr(doctor, "_devices", lambda: ["cpu"])
    with use_backend(name):
        assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "\n2 problems:\n" in out
    assert out.count(said) == 2
    assert out.count("; unset DECOUPLED_NETS_BACKEND") == 2


def test_doctor_says_that_the_variable_is_misspelt(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DECOUPLED_DATA", raising=False)
    monkeypatch.setattr(doctor, "_devices", lambda: ["cpu"])
    monkeypatch.setattr(backend._State, "wanted", "cup")
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "\n2 problems:\n" in out
    assert out.count("DECOUPLED_NETS_BACKEND = 'cup' received; needed: 'auto' or one of") >= 2
    assert out.count("; unset DECOUPLED_NETS_BACKEND") == 2


def test_doctor_tries_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._failure("cpu") is None
    assert "Error: " in str(doctor._failure("cuda:99"))
    right = doctor.DDF2d.forward
    monkeypatch.setattr(doctor.DDF2d, "forward", lambda self, x: right(self, x) + (x.dtype == torch.float32))
    assert doctor._failure("cpu") == "DDF2d gives wrong numbers"


def test_default_folders_follow_the_options() -> None:
    first = default_folder("x", TrainConfig())
    assert first == default_folder("x", TrainConfig())
    assert first != default_folder("x", TrainConfig.of(lr=0.5))


def test_the_folder_of_a_comparison_does_not_depend_on_what_only_adds_runs() -> None:
    from decoupled_nets.cli.options import default_folder
    from decoupled_nets.compare import CompareConfig
    from decoupled_nets.compare.config import ADDS

    def folder(**options: object) -> Path:
        config = CompareConfig.of(**options)
        return default_folder("compare", config, but=ADDS)

    grown = {"seeds": 3, "margin": 1.0, "tune": "lr=0.1", "tune_seeds": 1}
    assert {folder(**{name: value}) for name, value in grown.items()} == {folder()}
    assert len({folder(), folder(operators="conv,ball-cos"), folder(lr=0.5)}) == 3
    one, other = (folder(variants=f"a: relu={relu}; b:") for relu in ("true", "false"))
    assert len({folder(), one, other}) == 3
