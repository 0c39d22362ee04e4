"""Claims across architectures as the last section of docs/results.md, which this writes anew.

    python -m abspos.report.architectures results/architectures docs/results.md

No number in it is typed by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

from abspos.csv_tables import read_csv
from abspos.report.across import ABOUT, by_step
from abspos.report.in_words import of_architectures
from abspos.report.results import circumstances, command, markdown_table

HEADING = "## Across architectures\n"


def section(folder: Path) -> str:
    """The section.

    Args:
        folder: ``results/<study>``.
    """
    found, made = read_csv(folder / "statistics" / "architectures.csv"), circumstances(folder)
    words = "\n\n".join(
        f"{name}:\n\n" + "\n".join(f"- {text}" for text in said)
        for name, said in of_architectures({"architectures": found})
    )
    return f"""
{HEADING}
Made by `python -m abspos.report.architectures {folder.as_posix()}`; run on
{made["date"]}, {made["machine"]}, torch {made["torch"]}, by

    .venv/bin/{command(folder)}

{ABOUT} Log lens, median head; 95 % intervals over inputs.

{words}

{markdown_table(*by_step(found))}
"""


def replaced(page: str, text: str) -> str:
    """A page of results with this section as its last."""
    return page.partition(f"\n{HEADING}")[0] + text


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m abspos.report.architectures results/<study> docs/results.md")
    target = Path(sys.argv[2])
    page = replaced(target.read_text(encoding="utf-8"), section(Path(sys.argv[1])))
    target.write_text(page, encoding="utf-8")
