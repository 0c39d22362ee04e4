"""Packages that an installation may lack, and the extra of this package that brings each."""

from __future__ import annotations

from importlib.util import find_spec

#: Modules by extra, as pyproject.toml lists their packages.
EXTRAS = {
    "workflow": (
        "annotated_types",
        "huggingface_hub",
        "jinja2",
        "psutil",
        "pyarrow",
        "pydantic",
        "safetensors",
        "snakemake",
        "threadpoolctl",
        "tokenizers",
        "transformers",
        "yaml",
    ),
    "gguf": ("accelerate", "gguf"),
    "crate": ("rocrate",),
    "figures": ("matplotlib", "seaborn"),
}


class MissingExtra(ModuleNotFoundError):
    """A package of an extra is not installed; the text names the extra."""


def extra_of(module: str | None) -> str | None:
    """The extra that brings a module, by its dotted name; None of a module of none."""
    top = (module or "").partition(".")[0]
    return next((extra for extra, modules in EXTRAS.items() if top in modules), None)


def missing(module: str, extra: str) -> MissingExtra:
    """The error for a module that an extra brings."""
    top = module.partition(".")[0]
    return MissingExtra(f"{top} is not installed; run: pip install 'abspos[{extra}]'", name=top)


def require(extra: str) -> None:
    """Raise MissingExtra where a module of an extra is not installed; imports none of them."""
    for module in EXTRAS[extra]:
        if find_spec(module) is None:
            raise missing(module, extra)
