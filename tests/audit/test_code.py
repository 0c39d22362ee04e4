"""Digests of sources: what must change them, what must not, and which modules they cover."""

from __future__ import annotations

import ast
import io
import os
import sys
import sysconfig
import tokenize
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abspos.audit import code

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))

BASE = '''"""Module."""
import os

def f(x, y=1):
    """Doc."""
    text = "a # b"
    if x:
        return [x,
                y]
    return text
'''

SCRIPT = '''"""Its only stage."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.a import f

    f()
'''


@pytest.fixture
def project(tmp_path) -> Path:
    """A project of a script and a small library."""
    files = {
        "workflow/scripts/one.py": SCRIPT,
        "src/abspos/__init__.py": '"""Package."""\n',
        "src/abspos/a.py": "def f():\n    from abspos.deep.b import g\n    return g()\n",
        "src/abspos/deep/__init__.py": "from abspos import c\n",
        "src/abspos/deep/b.py": "import abspos.d as d, os\ng = 1\n",
        "src/abspos/c.py": "x = 1\n",
        "src/abspos/d.py": "from . import e\nfrom .deep import b\n",
        "src/abspos/e.py": "x = 'from abspos import unused'\n",
        "src/abspos/unused.py": "x = 1\n",
        "src/abspos/audit/job.py": "from abspos import heavy\n",
        "src/abspos/jobs.py": "x = 1\n",
        "src/abspos/heavy.py": "x = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def names(lines: list[str]) -> list[str]:
    return [line.partition(":")[0] for line in lines]


def digest_of(text: str, folder: Path) -> str:
    path = folder / f"m{abs(hash(text))}.py"
    path.write_text(text)
    return code.digest(path)


def test_all_modules_imported_directly_or_not_and_no_other(project):
    found = names(code.sources(Path("workflow/scripts/one.py"), project))
    assert found == [
        "src/abspos/__init__.py",
        "src/abspos/a.py",
        "src/abspos/c.py",
        "src/abspos/d.py",
        "src/abspos/deep/__init__.py",
        "src/abspos/deep/b.py",
        "src/abspos/e.py",
        "workflow/scripts/one.py",
    ]


def test_extra_modules_and_near_names_of_infrastructure(project):
    script = Path("workflow/scripts/one.py")
    assert "src/abspos/jobs.py" in names(code.sources(script, project, ["abspos.jobs"]))
    assert code.sources(script, project, ["abspos.audit.job"]) == code.sources(script, project)
    with pytest.raises(FileNotFoundError, match=r"abspos\.typo: no such module"):
        code.sources(script, project, ["abspos.typo"])


def test_absolute_relative_and_linked_roots_agree(project, tmp_path_factory, monkeypatch):
    script = Path("workflow/scripts/one.py")
    link = tmp_path_factory.mktemp("links") / "project"
    link.symlink_to(project)
    monkeypatch.chdir(project)
    expected = code.sources(script, project)
    assert code.sources(link / script, link) == expected
    assert code.sources(script, Path()) == expected


def test_an_edit_changes_the_line_of_its_file_alone(project):
    script = Path("workflow/scripts/one.py")
    before = code.sources(script, project)
    (project / "src/abspos/c.py").write_text("x = 2\n")
    changed = set(code.sources(script, project)) ^ set(before)
    assert {line.partition(":")[0] for line in changed} == {"src/abspos/c.py"}
    (project / "src/abspos/c.py").write_text("# said\nx = 1  # why\n")
    os.utime(project / "src/abspos/c.py")
    assert code.sources(script, project) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Module."""', '"""Another text\n\nover lines # with this."""'),
        ('    """Doc."""\n', ""),
        ('"""Doc."""', "r'''Raw.'''"),
        ("import os\n", "# a comment\n\n\nimport os  # another\n"),
        ("x, y=1", "x,   y = 1"),
        ("[x,\n                y]", "[x, y]"),
        ("if x:", "if \\\n        x:"),
        ("\n", "\r\n"),
        ("import os", "import    os"),
    ],
)
def test_what_does_not_matter(old, new, tmp_path):
    assert old in BASE
    path = tmp_path / "changed.py"
    path.write_bytes(BASE.replace(old, new).encode())
    assert code.digest(path) == digest_of(BASE, tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("y=1", "y=2"),
        ('"a # b"', '"a # c"'),
        ('"a # b"', '"a  # b"'),
        ("        return [x", "    return [x"),
        ("    return text", "        return text"),
        ("return text", "returntext"),
        ("text = ", "text += "),
        ("[x,", "[x, x,"),
    ],
)
def test_what_does_matter(old, new, tmp_path):
    assert old in BASE
    assert digest_of(BASE.replace(old, new), tmp_path) != digest_of(BASE, tmp_path)


@given(st.text("ab(){}[]'\"#\\\n\t :=,.1fr", max_size=60))
def test_any_text_is_read_to_its_end(text):
    lines = code.normal(text)
    assert all(line.strip() for line in lines)
    assert code.normal(text + "\n\n# end") == code.normal(text) or text.rstrip(" \t")[-1:] == "\\"


def plain_tokens(source: str) -> list[str]:
    """The same by Python's own tokenizer: tokens less comments, line ends and docstrings."""
    doc = set()
    for node in ast.walk(ast.parse(source)):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str | bytes):
            doc |= set(range(value.lineno, (value.end_lineno or value.lineno) + 1))
    dropped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [t.string for t in tokens if t.type not in dropped and t.start[0] not in doc]


def library() -> list[Path]:
    """Our own sources and a good part of Python's."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    ours = [*(ROOT / "src").rglob("*.py"), *(ROOT / "workflow").rglob("*.py")]
    return [*ours, *sorted(stdlib.glob("[a-d]*.py"))]


def test_same_digest_on_every_python(tmp_path):
    assert digest_of(BASE, tmp_path) == "ed1ceb1b3e2a21f0"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there, f-strings are several tokens")
def test_agrees_with_pythons_own_tokenizer():
    checked = 0
    for path in library():
        source = path.read_text(encoding="utf-8")
        if any(f"; {quote}" in source or f": {quote}" in source for quote in ('"""', "'''")):
            continue  # a docstring on the line of its def: kept by us, which costs a rerun at most
        ours = "".join("".join(code.normal(source)).split())
        theirs = "".join("".join(plain_tokens(source)).split())
        assert ours == theirs, path
        checked += 1
    assert checked > 50


def test_a_start_reads_each_source_once_whatever_the_number_of_scripts():
    code._read.cache_clear()
    named = [line for path in SCRIPTS for line in code.sources(path, ROOT)]
    read = code._read.cache_info().misses
    assert read == len({*named}) < len(named)
    assert [line for path in SCRIPTS for line in code.sources(path, ROOT)] == named
    assert code._read.cache_info().misses == read
