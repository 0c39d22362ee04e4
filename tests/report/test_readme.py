"""The README's table of verdicts: one line per claim, from the page of results."""

import re
from pathlib import Path

import pytest

from abspos.report import readme
from abspos.report.in_words import ALIKE
from abspos.report.results import HEAD, SEVERAL, WORDS, markdown_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs/results.md").read_text(encoding="utf-8")


def line(claim: str, log: str = "", probability: str = "", **cells: str) -> list[str]:
    """A line of the claim table of a page of results."""
    row = dict.fromkeys(HEAD, "") | {"claim": claim, "number": "n", "claimed": "> 0"}
    row |= {"verdict, log lens": log, "verdict, probability lens": probability} | cells
    return [row[name] for name in HEAD]


def table(*lines: list[str]) -> list[list[str]]:
    """Cells of the README's table for a page with these lines."""
    page = f"# Page\n\n{markdown_table(HEAD, lines)}\n\n| claim | x |\n"
    rows = readme.verdicts_table(page).splitlines()[2:]
    return [row.strip("| ").split(" | ") for row in rows]


def test_the_readme_has_the_verdicts_of_the_page_of_results() -> None:
    assert readme.replaced(README, RESULTS) == README


def test_every_number_of_the_readme_table_is_in_the_page_of_results() -> None:
    block = README.split(readme.BEGIN)[1].split(readme.END)[0]
    head, _, *rows = block.splitlines()
    column = head.split(" | ").index("number [95 % interval], log lens")
    numbers = [n for row in rows for n in row.split(" | ")[column].split("; ")]
    assert len(numbers) > 8
    assert [n for n in numbers if n and not re.search(rf"\| {re.escape(n)}( \||,)", RESULTS)] == []


def test_a_claim_has_its_weakest_verdict_and_all_marks() -> None:
    (row,) = table(
        line("both-present", "reproduced (fragile)", "reproduced", **{"log lens": "1 [0.5, 2]"}),
        line("both-present", "inconclusive (preliminary)", "opposite", **{"log lens": "0"}),
    )
    assert row[1] == ("log lens: inconclusive (preliminary, fragile); probability lens: opposite")
    assert row[2] == "0"


def test_each_model_has_its_line_below_the_statement() -> None:
    lines = [
        [claim, model, *line(claim, verdict, verdict)[1:]]
        for claim in ("bos-swap", "fingerprint")
        for model, verdict in (("a", "absent"), ("b", "opposite"), ("b", "reproduced"))
    ]
    page = f"# Page\n\n{markdown_table(SEVERAL, lines)}\n"
    head, _, *rows = [
        [c.strip() for c in row.split("|")[1:-1]]
        for row in readme.verdicts_table(page).splitlines()
    ]
    assert head[:3] == ["claim", "model", "verdict"]
    assert [row[1:3] for row in rows] == [["a", "absent"], ["b", "opposite"]] * 2
    assert [row[0] != "" for row in rows] == [True, False] * 2
    assert [row[4] != "" for row in rows] == [True, False] * 2, "what it is, once"


def test_a_theorem_has_one_line_for_all_models_with_its_largest_error() -> None:
    lines = [
        ["mask-denominator", model, *line("", readme.THEOREM, **{"log lens": error})[1:]]
        for model, error in (("a (0123456789ab)", "1e-06"), ("b (0123456789ab)", "2e-05"))
    ]
    page = f"# Page\n\n{markdown_table(SEVERAL, lines)}\n"
    (row,) = readme.verdicts_table(page).splitlines()[2:]
    assert row.split(" | ")[1:4] == ["all", readme.THEOREM, "2e-05"]


def test_revisions_and_intervals_over_sources_stay_on_the_page() -> None:
    number = {"log lens": "1 [0, 2], sources [-1, 3]"}
    lines = [
        ["bos-swap", f"{model} (0123456789ab)", *line("", "absent", "absent", **number)[1:]]
        for model in ("a", "b (full, theta 1e6)")
    ]
    page = f"# Page\n\n{markdown_table(SEVERAL, lines)}\n"
    rows = [row.split(" | ") for row in readme.verdicts_table(page).splitlines()[2:]]
    assert [row[1] for row in rows] == ["a", "b (full, theta 1e6)"]
    assert {row[3] for row in rows} == {"1 [0, 2]"}


def test_lenses_that_agree_are_one_verdict() -> None:
    assert table(line("bos-swap", "opposite", "opposite"))[0][1] == "opposite"


def test_each_number_of_the_weakest_verdict_is_shown_once() -> None:
    rows = table(
        line("both-present", "reproduced", number="a", **{"log lens": "1"}),
        line("both-present", "reproduced", number="b", **{"log lens": "2"}),
        line("both-present", "reproduced", number="a", **{"log lens": "3"}),
    )
    assert rows[0][2:] == ["1; 2", "a; b"]


def test_the_largest_error_of_a_theorem_is_shown_with_its_tolerance() -> None:
    holds = "holds by construction"
    rows = table(
        line("mask-denominator", holds, number="a", claimed="<= 0.001", **{"log lens": "0"}),
        line("mask-denominator", holds, number="b", claimed="<= 0.001", **{"log lens": "8e-06"}),
        line("mask-denominator", "", holds, number="c", claimed="<= 0.001"),
    )
    assert rows == [[rows[0][0], holds, "8e-06", "b; claimed <= 0.001"]]


def test_a_claim_that_is_not_testable_says_what_is_missing() -> None:
    (row,) = table(line("sink-readers", "not testable", number="", note="needs more"))
    assert row[1] == "not testable"
    assert row[-1] == "needs more"


def test_a_page_with_other_columns_is_refused() -> None:
    with pytest.raises(ValueError, match=r"table has columns .*; make the page again"):
        readme.verdicts_table("# Page\n\n| claim | verdict |\n| --- | --- |\n| a | b |\n")
    with pytest.raises(ValueError, match=r"has columns \[\]"):
        readme.verdicts_table("# Page\n")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("- One.\n- Two.\n", "- One."),
        (
            "m (0123456789ab):\n\n- One.\n- Two: three:\n\nn (full) (0123456789ab):\n\n- Four.\n",
            "- m: One.\n- n (full): Four.",
        ),
    ],
)
def test_the_readme_has_the_first_sentence_on_each_model(words: str, found: str) -> None:
    assert readme.leads(f"# Page\n\n{WORDS}\n{words}\n## The claims\n\n- Other.\n") == found


def test_the_readme_has_all_sentences_on_models_that_were_trained_alike() -> None:
    said = f"{ALIKE} m (step9):\n\n- Three.\n- Four.\n\n| a |\n"
    section = f"## Across architectures\n\nMade by x\n\n{said}"
    page = f"# Page\n\n{WORDS}\n- One.\n- Two.\n\n## The claims\n\n- Other.\n\n{section}"
    assert readme.leads(page) == f"- One.\n- {ALIKE} m (step9): Three. Four."


def test_a_page_without_sentences_is_refused() -> None:
    with pytest.raises(ValueError, match="no section '## In words'"):
        readme.leads("# Page\n\n## The claims\n")
