"""The report is one file that a browser opens without a network, and everything is found in it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from abspos.figures import FIGURES as EVERY_FIGURE
from abspos.figures import facts as declared
from abspos.planning.layout import ONLY_WITH

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)
#: The tiny study has no arms for the others.
FIGURES = tuple(figure for figure in EVERY_FIGURE if figure not in ONLY_WITH)
FACTS = {figure: declared.facts(figure) for figure in FIGURES}


@pytest.fixture(scope="module")
def report(finished, tmp_path_factory) -> Path:
    """The report of the finished study."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    code, text = finished.snakemake("--report", str(path))
    assert code == 0, text
    assert finished.plan().nothing
    return path


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("chromium and chromedriver are not installed (.ci/run installs them)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in FLAGS:
        options.add_argument(flag)
    service = webdriver.ChromeService(executable_path=driver)
    opened = webdriver.Chrome(options=options, service=service)
    yield opened
    opened.quit()


@pytest.fixture
def page(browser, report):
    """The report, opened at its front page."""
    browser.get("about:blank")
    browser.get(report.as_uri())
    wait(browser, lambda: "The claims" in text(browser))
    return browser


def wait(page, condition):
    return WebDriverWait(page, 60, poll_frequency=0.1).until(lambda _: condition())


def text(page, selector: str = "body") -> str:
    return page.find_element(By.CSS_SELECTOR, selector).text


def click(page, path: str) -> None:
    page.execute_script("arguments[0].click()", page.find_element(By.XPATH, path))


def errors(page) -> list[str]:
    """What went wrong in the page's scripts."""
    return [line["message"] for line in page.get_log("browser") if line["level"] == "SEVERE"]


def open_category(page, name: str) -> None:
    entry = f"//*[normalize-space(text())='{name}']"
    wait(page, lambda: page.find_elements(By.XPATH, entry))
    click(page, entry)
    wait(page, lambda: page.find_elements(By.CSS_SELECTOR, "a[iconname=information-circle]"))


def test_it_is_self_contained(page, report) -> None:
    assert [path.name for path in report.parent.iterdir()] == ["report.html"]
    loaded = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    assert errors(page) == []


def test_it_opens_with_what_is_ours_the_claims_and_the_settings(page, finished) -> None:
    front = text(page, "div.prose")
    assert front.startswith("Where does absolute position come from?")
    ours, claims, settings = (
        front.index(part)
        for part in ("this project's own", "\nThe claims\n", "\nSettings of the run\n")
    )
    assert ours < claims < settings
    table = pd.read_csv(finished.results / "claims.csv")
    assert set(table["claim"]) <= set(re.findall(r"[\w-]+", front[claims:settings]))
    shown = [row.text for row in page.find_elements(By.CSS_SELECTOR, "div.prose tr")]
    # The first is the claim's own; a control that guards it names it again.
    swap = next(row for row in shown if "swap-token: energy reduction" in row)
    assert "preliminary" in swap
    assert "sign_flips: 200" in front[settings:]
    assert "family: llama" in front[settings:]
    top = page.find_element(By.CSS_SELECTOR, "div.prose h1").location["y"]
    assert 0 <= top < 200  # the front page begins at the top of the window
    wide = page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert wide


def test_nothing_is_left_unrendered(page) -> None:
    front = text(page, "div.prose")
    assert not re.search(r"\{\{|\}\}|\{%|System Message|\|nbsp\||\bnan\b|\bNone\b", front)
    assert page.find_elements(By.CSS_SELECTOR, ".system-message, .problematic") == []


@pytest.mark.parametrize("category", sorted({facts.category for facts in FACTS.values()}))
def test_figures_are_found_by_category_and_label(page, category) -> None:
    open_category(page, category)
    for figure, facts in FACTS.items():
        if facts.category != category:
            continue
        row = f"//tr[td[normalize-space()='{facts.label}']]"
        assert len(page.find_elements(By.XPATH, row)) == 1, figure
        click(page, f"{row}//a[@iconname='eye']")
        image = f"return document.querySelector(\"img[src*='filename={figure}.svg']\")"
        wait(page, lambda image=image: page.execute_script(f"{image}?.naturalWidth") or 0)
        assert page.execute_script(f"{image}.naturalWidth") > 300
        click(page, f"{row}//a[@iconname='information-circle']")
        wait(page, lambda: "SNAKEMAKE RULE" in text(page))
        caption = text(page)
        assert facts.caption[:60] in caption
        assert f"Figure {figure} of study tiny" in caption
        assert "Intervals are at 95 %" in caption
        assert not re.search(r"\{\{|\}\}|\{%", caption)
        open_category(page, category)
    assert errors(page) == []


def test_the_claims_table_lies_in_the_report(page) -> None:
    open_category(page, "Claims")
    assert page.find_elements(By.XPATH, "//tr[td[normalize-space()='Table of all claims (CSV)']]")
