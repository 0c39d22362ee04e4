"""Which sources a result depends on, as digests that change only when the code does.

Snakemake compares scripts by their time stamps and does not see imported modules at all. So each
rule carries, as a parameter, one ``path:digest`` for its script and for every module of this
package that the script imports, directly or not. A digest speaks for the text less comments,
docstrings, blank lines and spacing; it is made by a small lexer of our own, because what Python's
``tokenize`` and ``ast`` give differs between Python versions.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from abspos.stores import file_digest

PACKAGE = "abspos"
RESOURCES = "resources"  # data that comes with the code
Import = tuple[str, tuple[str, ...]]  # module, and the names taken from it

#: Modules that watch over a run and cannot change what it computes; with all below them.
INFRASTRUCTURE = (
    "abspos.audit.",
    "abspos.cli.",
    "abspos.audit.code.",
    "abspos.audit.job.",
    "abspos.progress.",
)

# One token of Python 3.11. Strings come first, so that a # inside one is not taken for a comment.
_TOKEN = re.compile(
    r'''[rRbBfFuU]{0,2}(?:"""(?:[^\\]|\\.)*?"""|\'\'\'(?:[^\\]|\\.)*?\'\'\'
                         |"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')'''
    r"""|\#[^\n]*|\w+|[ \t\f]+|\\\n|\n|.""",
    re.DOTALL | re.VERBOSE,
)
_STRING = re.compile(r"[rRbBuU]{0,2}[\"']")


def sources(script: Path, root: Path, extra: Sequence[str] = ()) -> list[str]:
    """Digests of a script and of all modules of this package that it depends on.

    Args:
        script: a workflow script, absolute or relative to ``root``.
        root: the project folder, which holds ``src/abspos``.
        extra: modules that are imported by a name made at run time, ``abspos.figures.bos_swap``.

    Returns:
        Sorted ``relative/path.py:digest`` lines; the digest is the first 16 hexadecimal digits of
        the SHA-256 of the code. Modules in INFRASTRUCTURE are left out, and what only they import.

    Raises:
        FileNotFoundError: the script, or a module in ``extra``, does not exist.
    """
    root = Path(root).absolute()  # links are kept: the script's own path may hold them too
    script = root / script
    lines = {_line(script, root)}
    waiting = list(_imported(script, ""))
    for name in extra:
        if _module(name, root) is None:
            raise FileNotFoundError(f"{name}: no such module in {root / 'src' / PACKAGE}")
        waiting.append(name)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or f"{name}.".startswith(INFRASTRUCTURE):
            continue
        seen.add(name)
        path = _module(name, root)
        if path is None:  # a function or class of the module before the dot
            continue
        lines.add(_line(path, root))
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting += [*_imported(path, package), name.rpartition(".")[0] or PACKAGE]
    return sorted(lines)


def shipped(names: Iterable[str], root: Path) -> list[str]:
    """Digests of data that comes with the code, as ``relative/path:digest`` lines.

    Args:
        names: files relative to ``root``, the project folder.

    Returns:
        Sorted lines; the digest is the first 16 hexadecimal digits of the file's SHA-256.
    """
    return sorted(f"{name}:{file_digest(root / name)[:16]}" for name in names)


def is_data(line: str) -> bool:
    """Whether a line is one of ``shipped``, not of ``sources``."""
    return line.startswith(f"{RESOURCES}/")


def digest(path: Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a source file's code."""
    return _facts(path)[0]


def normal(source: str, docstrings: bool = False) -> list[str]:
    """The logical lines of a source text, without comments, blank lines and spare spaces.

    Args:
        source: Python, or Snakemake with ``docstrings=True`` (there, a line with a string alone
            has a meaning).
        docstrings: whether lines that are a string and nothing else are kept.

    Returns:
        One text per logical line, with its indentation.
    """
    return _texts(_logical_lines(source), docstrings)


def _texts(lines: Iterable[tuple[str, list[str]]], docstrings: bool) -> list[str]:
    return [
        indent + "".join(tokens)
        for indent, tokens in lines
        if docstrings or not all(t == " " or _STRING.match(t) for t in tokens)
    ]


def _logical_lines(source: str) -> Iterator[tuple[str, list[str]]]:
    """Indentation and tokens of each logical line; one space stands between adjacent words."""
    indent, tokens, depth, spaced = "", list[str](), 0, False
    for token in _TOKEN.findall(source.replace("\r\n", "\n").removeprefix("\ufeff") + "\n"):
        if token == "\n" and depth == 0:
            if tokens:
                yield indent, tokens
            indent, tokens = "", []
        elif token[0] in " \t\f\n" or token == "\\\n":
            spaced = True
            if not tokens and token != "\\\n":
                indent = token
        elif token[0] != "#":
            if spaced and tokens and _wordlike(tokens[-1][-1]) and _wordlike(token[0]):
                tokens.append(" ")
            tokens.append(token)
            spaced = False
            depth += (token in "([{") - (token in ")]}")
    if tokens:
        yield indent, tokens


def _wordlike(character: str) -> bool:
    """Whether two such characters side by side would run together, or are two strings."""
    return character.isalnum() or character in "_\"'"


def _line(path: Path, root: Path) -> str:
    return f"{path.relative_to(root).as_posix()}:{digest(path)}"


def _module(name: str, root: Path) -> Path | None:
    """The file of a module or package of ours, or None."""
    path = root.joinpath("src", *name.split("."))
    for candidate in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _imported(path: Path, package: str) -> Iterator[str]:
    """Names of our package that a file imports, made absolute; some are not modules."""
    for module, names in _facts(path)[1]:
        dots = len(module) - len(module.lstrip("."))
        if dots:
            above = package.split(".")[: len(package.split(".")) - dots + 1]
            module = ".".join([*above, module.lstrip(".")]).rstrip(".")
        if module == PACKAGE or module.startswith(f"{PACKAGE}."):
            yield module
            yield from (f"{module}.{name}" for name in names)


def _facts(path: Path) -> tuple[str, tuple[Import, ...]]:
    """Digest and imports of a file, worked out once for each state of it."""
    state = path.stat()
    return _read(path, state.st_mtime_ns, state.st_size)


@cache
def _read(path: Path, mtime: int, size: int) -> tuple[str, tuple[Import, ...]]:
    lines = list(_logical_lines(path.read_text(encoding="utf-8")))
    text = "\n".join(_texts(lines, docstrings=False))
    imports = tuple(found for _, tokens in lines for found in _imports(tokens))
    return hashlib.sha256(text.encode()).hexdigest()[:16], imports


def _imports(tokens: Sequence[str]) -> Iterator[Import]:
    """Module and imported names of each import statement in one logical line."""
    if "import" not in tokens:
        return
    words = [t for t in tokens if t != " "]
    starts = [0] + [i + 1 for i, t in enumerate(words) if t in ";:"]
    for start, stop in zip(starts, [*starts[1:], len(words) + 1], strict=True):
        statement = [t for t in words[start : stop - 1] if t not in "()"]
        match statement[:1]:
            case ["import"]:
                for part in _split(statement[1:]):
                    yield _name(part), ()
            case ["from"] if "import" in statement:
                cut = statement.index("import")
                names = tuple(_name(part) for part in _split(statement[cut + 1 :]))
                yield "".join(statement[1:cut]), names


def _split(tokens: Sequence[str]) -> Iterator[list[str]]:
    """Parts between commas."""
    part: list[str] = []
    for token in [*tokens, ","]:
        if token == ",":
            if part:
                yield part
            part = []
        else:
            part.append(token)


def _name(part: Sequence[str]) -> str:
    """``a.b as c`` -> ``a.b``."""
    return "".join(part[: part.index("as")] if "as" in part else part)
