"""The README's table of verdicts and a sentence on each model, made from a page of results.

    python -m abspos.report.readme        writes them into README.md, from docs/results.md

The page has one line per number and ten columns; the README has one line per claim and four.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from abspos.claims.registry import statements
from abspos.report.front import MARKS, VERDICTS_WEAKEST_FIRST, marked
from abspos.report.in_words import ALIKE
from abspos.report.results import HEAD, SEVERAL, WORDS, markdown_table

ROOT = Path(__file__).parents[3]
BEGIN = "<!-- verdicts: from docs/results.md, by `python -m abspos.report.readme` -->\n"
END = "\n<!-- end of verdicts -->"
BEGIN_WORDS = "<!-- in words: from docs/results.md, by `python -m abspos.report.readme` -->\n"
END_WORDS = "\n<!-- end of words -->"
SHORT_HEAD = ["claim", "verdict", "number [95 % interval], log lens", "quantity"]

#: Names of numbers in plain words; a number that is not listed keeps its own name.
PLAIN = {
    "mask share of mask + R": "share of the mask in mask and residual-stream energy",
    "residual share of mask + R": "share of the residual stream",
    "residual share of mask + R, difference": "the same less that of untrained weights",
    "smaller of both differences, share of standard's energy": "what NTK scaling removes or a "
    "window adds, whichever is less, as a share of the residual-stream energy",
    "reduction of residual energy": "share of the residual-stream energy that scaling removes",
    "difference of slopes [energy per layer]": "growth with depth beyond that without a window, "
    "in energy per layer",
    "swap-token: energy reduction": "share of the residual-stream energy that other tokens remove",
    "variance explained": "share of the variance of what sink readers write that the token at "
    "position 0 explains",
}

#: The verdict on a theorem.
THEOREM = "holds by construction"

Line = Mapping[str, str]


def claim_lines(page: str) -> list[Line]:
    """Lines of the claim table of a page of results, by column.

    Args:
        page: text that ``abspos.report.results.page`` made.

    Raises:
        ValueError: the page has no such table, or one with other columns.
    """
    table = re.search(r"^\| claim \|(?:.*\n?\|)*.*", page, re.MULTILINE)
    lines = table.group().splitlines() if table else []
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    head, *rows = [[cell.strip() for cell in line] for line in cells] or [[]]
    if head not in (HEAD, SEVERAL):
        raise ValueError(f"the claim table has columns {head}, not {HEAD}; make the page again")
    return [dict(zip(head, row, strict=True)) for row in rows[1:]]


def verdict(lines: Sequence[Line], lens: str) -> str:
    """Weakest verdict of a claim in one lens, with the marks of any line; empty without lines."""
    found = [text for line in lines if (text := line[f"verdict, {lens} lens"])]
    if not found:
        return ""
    weakest = min(map(unmarked, found), key=VERDICTS_WEAKEST_FIRST.index)
    return marked(weakest, [mark for mark in MARKS if any(mark in text for text in found)])


def unmarked(verdict: str) -> str:
    """A verdict without its marks."""
    return verdict.partition(" (")[0]


def both_lenses(lines: Sequence[Line]) -> str:
    """Verdict of a claim: one where the lenses agree or only one applies, else both by name."""
    found = {lens: verdict(lines, lens) for lens in ("log", "probability")}
    texts = {text for text in found.values() if text}
    if len(texts) == 1:
        return texts.pop()
    return "; ".join(f"{lens} lens: {text}" for lens, text in found.items())


def deciding(lines: Sequence[Line]) -> list[Line]:
    """The lines that make a claim's verdict in the log lens: one of each number.

    Errors of theorems have no interval and share a tolerance, so only the largest is shown.
    """
    weakest = unmarked(verdict(lines, "log"))
    rows = [line for line in lines if unmarked(line["verdict, log lens"]) == weakest]
    if weakest == THEOREM:
        return [max(rows, key=lambda line: float(line["log lens"]))]
    first: dict[str, Line] = {}
    for line in rows:
        first.setdefault(line["number"], line)
    return list(first.values())


def clause(lines: Sequence[Line]) -> str:
    """Names of a claim's numbers; for a claim that is not testable, the missing arms."""
    if not any(line["number"] for line in lines):
        return lines[0]["note"]
    text = "; ".join(PLAIN.get(line["number"], line["number"]) for line in lines)
    claimed = lines[0]["claimed"]
    return text if claimed == "> 0" else f"{text}; claimed {claimed}"


def verdicts_table(page: str) -> str:
    """One line per claim: statement, verdict, number with interval, and its quantity.

    Of several models, and of kinds of layers, one line each below the claim's statement, but one
    for all where a claim is a theorem. Intervals are those over inputs.

    Args:
        page: text of docs/results.md.
    """
    found: dict[str, dict[str, list[Line]]] = {}
    for line in claim_lines(page):
        found.setdefault(line["claim"], {}).setdefault(line.get("model", ""), []).append(line)
    several = any(model for by_model in found.values() for model in by_model)
    rows = []
    for claim, by_model in found.items():
        statement, last = f"{statements()[claim]} (`{claim}`)", ""
        if all(both_lenses(lines) == THEOREM for lines in by_model.values()):
            by_model = {"all": [line for lines in by_model.values() for line in lines]}
        for model, lines in by_model.items():
            shown = deciding(lines)
            numbers = "; ".join(line["log lens"].partition(", sources")[0] for line in shown)
            about = clause(shown)
            named = [without_revision(model)] * several
            rows.append([statement, *named, both_lenses(lines), numbers, about * (about != last)])
            statement, last = "", about
    return markdown_table([SHORT_HEAD[0], *["model"] * several, *SHORT_HEAD[1:]], rows)


def without_revision(model: str) -> str:
    """A model's name, with its kind of layers, less its revision behind it."""
    return re.sub(r" \([0-9a-f]{12}\)$", "", model)


def leads(page: str) -> str:
    """The first sentence on each model of a page of results, as a list; the page has all others. Of
    models that were trained alike, all sentences.

    Raises:
        ValueError: the page has none.
    """
    _, heading, rest = page.partition(f"\n{WORDS}")
    if not heading:
        raise ValueError(f"the page has no section {WORDS.strip()!r}; make the page again")
    model, found = "", list[tuple[str, str]]()
    for line in rest.partition("\n## ")[0].splitlines():
        if line.endswith(":") and not line.startswith("- "):
            model = f"{without_revision(line.removesuffix(':'))}: "
        elif line.startswith("- ") and model not in (said for said, _ in found):
            found.append((model, line.removeprefix("- ")))
    alike = re.findall(rf"^({ALIKE} .*: *)\n\n((?:- .*\n)+)", rest, re.MULTILINE)
    found += [
        (f"{name} ", " ".join(re.findall("^- (.*)", said, re.MULTILINE))) for name, said in alike
    ]
    return "\n".join(f"- {model}{sentence}" for model, sentence in found)


def replaced(readme: str, page: str) -> str:
    """The README with the table and the first sentences of a page of results put in."""
    for begin, end, text in (
        (BEGIN, END, verdicts_table(page)),
        (BEGIN_WORDS, END_WORDS, leads(page)),
    ):
        before, rest = readme.split(begin)
        readme = before + begin + text + end + rest.split(end)[1]
    return readme


if __name__ == "__main__":
    path = ROOT / "README.md"
    results = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    path.write_text(replaced(path.read_text(encoding="utf-8"), results), encoding="utf-8")
