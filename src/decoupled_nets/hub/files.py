"""``save_pretrained``, ``from_pretrained`` and ``push_to_hub``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from .._files import write_atomically, write_text
from .recipe import build, recipe_of
from .values import to_json

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
LIBRARY = "decoupled_nets"
FORMAT = 1


def save_pretrained(
    model: nn.Module,
    folder: str | Path,
    results: Mapping[str, Any] | None = None,
    *,
    recipe: Mapping[str, Any] | None = None,
    example_input: Any = None,
) -> Path:
    """Write a network as config.json, model.safetensors and a model card.

    Before anything is written, the network is built from what is to be written, and both compute a random
    batch in evaluation and in training mode: copies of them, on the processor. If they differ, an error names
    the first module that does. Hooks are not saved.

    Args:
        model: a network made by :func:`decoupled_nets.create_model` or by timm, converted or not; with
            `recipe` one of torchvision's too. What ``load_network`` gives is written with its normalisation.
        folder: where to; files of these names in it are replaced.
        results: what was measured, by name: numbers or texts, for the model card.
        recipe: ``{"source": "torchvision", "model": "resnet18", "arguments": {"num_classes": 10}}``, for a
            network that does not know how it was built; the source may be ``"decoupled_nets"``, ``"timm"``,
            ``"torchvision"`` or ``"smp"``.
        example_input: an input, or a tuple of inputs, to compare the networks on; needed for one that takes
            something else than a batch of images, such as a detector: ``(images, targets)``.

    Returns:
        The folder.

    Raises:
        ValueError: the network cannot be built again from a name and options, or is not what they build, or
            no input for it could be made.

    Example:
        >>> import tempfile, torch, decoupled_nets as dn
        >>> model = dn.create_model("cifar_vgg11", num_classes=10, operator="tanh-cos", width=0.125).eval()
        >>> x = torch.rand(1, 3, 32, 32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = dn.save_pretrained(model, folder, results={"Test accuracy, %": 77.5})
        ...     torch.equal(dn.from_pretrained(folder)(x), model(x))
        True
    """
    return _save(model, Path(folder), results, (recipe, example_input), str(folder))


def _save(
    model: nn.Module,
    folder: Path,
    results: Mapping[str, Any] | None,
    origin: tuple[Mapping[str, Any] | None, Any],
    place: str,
) -> Path:
    with uncompiled(model) as plain:
        return _write(plain, folder, results, origin, place)


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[nn.Module]:
    """The network with the modules that ``torch.compile`` was given in the place of those that it made."""
    placed = [
        (parent, name, child)
        for parent in list(model.modules())
        for name, child in parent._modules.items()
        if child is not None and "_orig_mod" in child._modules
    ]
    try:
        for parent, name, child in placed:
            parent._modules[name] = child._modules["_orig_mod"]
        yield getattr(model, "_orig_mod", model)
    finally:
        for parent, name, child in placed:
            parent._modules[name] = child


def _write(
    model: nn.Module,
    folder: Path,
    results: Mapping[str, Any] | None,
    origin: tuple[Mapping[str, Any] | None, Any],
    place: str,
) -> Path:
    from safetensors.torch import load, save

    from .card import model_card
    from .proof import prove

    recipe, example_input = origin
    config = {"library": LIBRARY, "format": FORMAT, **recipe_of(model, recipe)}
    if results:
        config["results"] = to_json(results, "results")
    weights = save(_tensors(model), metadata={"format": "pt"})
    config["sha256"] = hashlib.sha256(weights).hexdigest()
    text = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    prove(model, lambda: _restored(json.loads(text), load(weights), folder / WEIGHTS), config, example_input)
    # The configuration last: whoever finds it finds the rest.
    write_atomically(folder / WEIGHTS, lambda file: file.write(weights))
    write_text(folder / "README.md", model_card(model, config, place))
    write_text(folder / CONFIG, text)
    return folder


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state, without two names for one memory, which the format does not have."""
    seen: set[int] = set()
    tensors = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise ValueError(f"the state {name!r} is a {type(value).__name__}; needed: a tensor")
        tensor = value.detach().cpu().contiguous()
        known = tensor.untyped_storage().data_ptr() in seen
        tensors[name] = tensor.clone() if known else tensor
        seen.add(tensors[name].untyped_storage().data_ptr())
    return tensors


def from_pretrained(
    path_or_repo_id: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> nn.Module:
    """The network that :func:`save_pretrained` wrote, in evaluation mode.

    Only JSON and safetensors are read, and a name in them is looked up in a registry: loading runs no code of
    the file's. Operators of your own have to be registered before.

    Args:
        path_or_repo_id: a folder; if there is none of that name, a repository on the Hugging Face Hub, which
            is fetched once and found in the cache from then on.
        revision: of the repository: a branch, a tag, a commit.
        cache_dir: where fetched files are kept.
        token: of the Hugging Face Hub, for private repositories.
        local_files_only: do not fetch anything.

    Raises:
        ValueError: the files are damaged, or are not ours; or the repository cannot be had.
        FileNotFoundError: a folder without the files, or no such folder.
    """
    options = {"revision": revision, "cache_dir": cache_dir, "token": token}
    folder = saved_folder(path_or_repo_id, **options, local_files_only=local_files_only)
    config, tensors = read_saved(folder)
    return _restored(config, tensors, folder / WEIGHTS).eval()


def saved_folder(path_or_repo_id: str | Path, **options: Any) -> Path:
    """The folder of a saved network; that of a repository is in the cache. As :func:`from_pretrained`."""
    folder = Path(path_or_repo_id)
    return folder if folder.is_dir() else _fetch(path_or_repo_id, options)


def read_recipe(folder: Path) -> dict[str, Any]:
    """How the network in a folder is built; errors as of :func:`from_pretrained`."""
    return _read_config(folder / CONFIG)


def read_saved(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The configuration and the weights in a folder; errors as of :func:`from_pretrained`."""
    config = read_recipe(folder)
    return config, _read_weights(folder / WEIGHTS, config.get("sha256"))


def _restored(config: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """The network of the files' content."""
    with torch.random.fork_rng():  # weights drawn only to be replaced
        model = build(config)
    _load(model, tensors, path)
    return model


def _fetch(repo_id: str | Path, options: dict[str, Any]) -> Path:
    """The folder of a repository in the cache."""
    name = str(repo_id)
    if isinstance(repo_id, Path) or name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise FileNotFoundError(
            f"there is no folder {name}; needed: a folder of save_pretrained, or a repository's name"
        )
    from huggingface_hub import hf_hub_download

    try:
        for file in (WEIGHTS, CONFIG):
            path = hf_hub_download(name, file, library_name=LIBRARY, **options)
    except (
        Exception
    ) as error:  # of requests, of names, of access, of the network: its own and others' classes
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{name!r} is no folder here, and the Hugging Face Hub does not give it: {reason}"
        ) from error
    return Path(path).parent


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; needed: a folder of save_pretrained")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(config, dict) or config.get("library") != LIBRARY:
        raise ValueError(f"{path} was not written by save_pretrained; needed: a folder that it wrote")
    if config.get("format") != FORMAT:
        raise ValueError(
            f"{path} is of format {config.get('format')!r}; needed: {FORMAT}, the one that this version reads"
        )
    return config


def _read_weights(path: Path, sha256: Any) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(
            f"{path} is damaged, or belongs to another {CONFIG}: its SHA-256 differs from the one noted there"
        )
    try:
        return load(content)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error


def _load(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        missing, unexpected = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the network: {' '.join(str(error).split())}") from error
    # A decoupled layer forgives a plain layer's state what it lacks; a file of ours lacks nothing.
    absent = sorted({*missing, *(set(model.state_dict()) - set(tensors))})
    if absent or unexpected:
        raise ValueError(
            f"{path} does not fit the network: missing {absent[:3]}, unexpected {unexpected[:3]}"
        )


def push_to_hub(
    model: nn.Module,
    repo_id: str,
    results: Mapping[str, Any] | None = None,
    *,
    recipe: Mapping[str, Any] | None = None,
    example_input: Any = None,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str = "Weights, configuration and model card",
) -> str:
    """Put a network on the Hugging Face Hub, as :func:`save_pretrained` writes it.

    Args:
        model: as in :func:`save_pretrained`, like results and recipe.
        repo_id: ``"user/name"``; made if it does not exist.
        results: for the model card.
        recipe: how the network is built.
        example_input: to compare the networks on, before anything is sent.
        private: whether a new repository is private; None takes the account's default.
        token: of the Hugging Face Hub; None takes the one that is logged in.
        commit_message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        ValueError: the network cannot be written; nothing was sent.
    """
    from huggingface_hub import HfApi

    with TemporaryDirectory() as folder:
        _save(model, Path(folder), results, (recipe, example_input), repo_id)
        api = HfApi(token=token, library_name=LIBRARY)
        made = api.create_repo(repo_id, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message=commit_message))
