"""The command: what it prints, where it looks, how it exits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from abspos import cli
from abspos.cli.options import EXAMPLES

ENTRY = "results/s/ledger"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with a study that has one file, written by a job without inputs."""
    from abspos.audit import ledger, machine
    from abspos.stores import write_atomically

    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("study: s\n")
    write_atomically(Path("results/s/claims.csv"), "claim,estimate\nc0,1.5\n")
    ledger.write(
        {
            **ledger.describe(Path("results/s/claims.csv")),
            "format": 1,
            "path": "results/s/claims.csv",
            "temporary": False,
            "inputs": {},
            "outputs": ["results/s/claims.csv"],
            "log": None,
            "code": {},
            "rule": {"name": "claims", "defined": None},
            "wildcards": {},
            "config": {},
            "params": {},
            "seeds": {},
            "git": None,
            "packages": {"numpy": "1"},
            "loaded": [],
            "python": machine.python(),
            "determinism": {},
            "threads": 1,
            "circumstances": {
                "start": "2026-01-01T00:00:00+00:00",
                "seconds": 0.5,
                "peak_memory_bytes": 1,
                "attempt": None,
                "host": machine.host(),
            },
        }
    )
    return tmp_path


def run(*arguments: str) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


def test_verify_passes_fails_and_says_so(project, capsys):
    assert run("verify") == cli.FINE
    out = capsys.readouterr().out
    assert "1 files and 0 stores" in out
    assert "all as recorded" in out
    assert "seal of tables and stores: " in out
    Path("results/s/claims.csv").write_text("claim,estimate\nc0,1.6\n")
    assert run("verify", "--quiet") == cli.FINDINGS
    out = capsys.readouterr().out
    assert out.startswith("altered      results/s/claims.csv: ")
    assert "1 finding\n" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "--study", "none"], "results/none: no such folder; run snakemake first"),
        (["verify", "--study", "../s"], "--study '../s': a name, not a path"),
        (["verify", "--results", "x y"], "x y: no such folder"),
        (["verify", "--against", "nowhere"], "--against nowhere: no such folder"),
        (["verify", "--tolerance", "much"], "invalid float value: 'much'"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        ([], "required: command"),
    ],
)
def test_mistakes_are_told_and_exit_with_2(project, capsys, arguments, message):
    assert run(*arguments) == cli.USAGE
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "config.yaml: holds no keys"),
        ("- a\n", "config.yaml: holds no keys"),
        ("study: [\n", "config.yaml, line 2: not YAML: "),
        ("study: a\nstudy: b\n", "results/b: no such folder"),
        ("study: ../b\n", "study: value '../b' — at most 64 letters"),
        ("other: 1\n", "results/default: no such folder"),
        (None, "results/default: no such folder"),  # the default study is that of the code
    ],
)
def test_a_config_without_a_study_is_told(project, capsys, text, told):
    Path("results/t/ledger").mkdir(parents=True)
    Path("config.yaml").unlink()
    if text is not None:
        Path("config.yaml").write_text(text)
    assert run("verify") == cli.USAGE
    err = capsys.readouterr().err
    assert told in err
    assert len(err.splitlines()) == 1
    assert run("verify", "--study", "s") == cli.FINE


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("other.yaml", "study: s\n"),
        ("other.yaml", 'seed: 1\nstudy: "s" # quoted\n'),
        ("s.yaml", "seed: 1\n"),
        ("a folder/it's.yaml", "study: 's'\n"),
    ],
)
@pytest.mark.parametrize("command", [["name"], ["verify"], ["explain", "claims.csv"], ["crate"]])
def test_a_study_is_meant_by_its_file(project, capsys, monkeypatch, file, text, command):
    Path("config.yaml").write_text("study: another\n")
    Path("results/another/ledger").mkdir(parents=True)
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text(text)
    seen = []
    monkeypatch.setattr("abspos.audit.explain.explain", lambda *given: seen.append(given[1]) or [])
    monkeypatch.setattr("abspos.audit.crate.pack", lambda results, *_, **__: seen.append(results))
    assert run(*command, "--configfile", file) == cli.FINE
    out = capsys.readouterr().out
    if command[0] == "name":
        assert out == "s\n"
    elif command[0] == "verify":
        assert "results/s: 1 files" in out
    else:
        assert seen == [Path("results/s")]


def test_every_mistake_of_a_config_is_a_line(project, capsys):
    Path("wrong.yaml").write_text("study: s\nmodls: []\ninputs: {nubmer: 8}\n")
    assert run("plan", "--configfile", "wrong.yaml") == cli.USAGE
    lines = capsys.readouterr().err.splitlines()
    assert {"inputs.nubmer", "modls"} < {line.split(":")[2].strip() for line in lines}
    assert all(line.startswith("error: config: ") for line in lines)


def test_a_study_file_that_is_not_there_is_told_by_every_command(project, capsys):
    for command in (["name"], ["plan"], ["pin"], ["verify"], ["explain", "x"], ["crate"]):
        assert run(*command, "--configfile", "no such.yaml") == cli.USAGE
        assert capsys.readouterr().err == "error: config: no such.yaml: no such file\n"


def test_the_only_study_there_is_found_without_its_name(project, capsys):
    Path("config.yaml").write_text("study: another\n")
    assert run("verify") == cli.FINE
    assert "results/s: " in capsys.readouterr().out


def test_explain_finds_the_study_of_a_file(project, capsys, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    file = str(project / "results/s/claims.csv")
    assert run("explain", f"{file}:2", "--project", str(project)) == cli.FINE
    assert "estimate = 1.5" in capsys.readouterr().out
    (project / "results/s/other.csv").write_text("")
    assert run("explain", str(project / "results/s/other.csv")) == cli.FINDINGS
    assert "no ledger entry describes it" in capsys.readouterr().err


def test_against_itself_is_identical_and_against_another_number_is_not(project, capsys):
    assert run("verify", "--against", "results/s") == cli.FINE
    assert "1 identical" in capsys.readouterr().out
    other = Path("other")
    other.mkdir()
    (other / "claims.csv").write_text("claim,estimate\nc0,2.5\n")
    assert run("verify", "--against", "other") == cli.FINDINGS
    assert "different  claims.csv: estimate: " in capsys.readouterr().out
    assert run("verify", "--against", "other", "--tolerance", "0.5", "--quiet") == cli.FINE


def test_names_of_any_kind_stay_on_their_line(project, capsys):
    for name in (b"two\nlines", b"\x1b[2J", b"\xff\xfe", "é ü".encode(), b"a: b"):
        Path(os.fsdecode(b"results/s/" + name)).write_text("")
    assert run("verify", "--quiet") == cli.FINDINGS
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:-3]] == ["unaccounted"] * 5
    assert "\x1b" not in out
    assert "é ü" in out
    assert "two\\nlines" in out


def test_crate_refuses_in_one_line(project, capsys):
    Path("results/s/claims.csv").write_text("x")
    assert run("crate") == cli.FINDINGS
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path("results/s.crate.zip").exists()


def test_help_names_every_command(capsys):
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in cli.COMMANDS)


def test_the_examples_of_the_help_are_valid():
    examples = [
        line.split("  ", 1)[0].split() for line in re.findall(r"^  (abspos .*)", EXAMPLES, re.M)
    ]
    assert {words[1] for words in examples} == {*cli.COMMANDS} - {"name"}
    for words in examples:
        cli.parser().parse_args(words[1:])


def test_the_version_is_that_of_the_package(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"abspos {version('abspos')}\n"


def test_a_shell_completes_commands(tmp_path):
    """As the function of register-python-argcomplete asks for it, on descriptor 8."""
    line = "abspos verd"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "found"),
    }
    subprocess.run([sys.executable, "-m", "abspos.cli"], env=environment, check=False)
    assert (tmp_path / "found").read_text().strip() == "verdicts"


def test_verdicts_of_a_study_without_claims_are_told_to_be_missing(project, capsys):
    Path("results/s/claims.csv").unlink()
    assert run("verdicts") == cli.FINDINGS
    assert "results/s/claims.csv: missing; run snakemake" in capsys.readouterr().err


def test_a_reader_that_stops_reading_is_no_error(project):
    code = "import sys; from abspos.cli import main; sys.exit(main(['verify']))"
    done = subprocess.run(
        f'{sys.executable} -c "{code}" | true; exit ${{PIPESTATUS[0]}}',
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert "Traceback" not in done.stderr
