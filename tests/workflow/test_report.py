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
MENU = declared.sections(FIGURES)
SIZES = ((1400, 900), (1920, 1080), (390, 844))
#: Whether all of an element can be scrolled to: its beginning, and its end.
REACHED = """
const [element] = arguments, near = 1;
const at = side => {
  element.scrollIntoView({block: side, inline: side, behavior: "instant"});
  return element.getBoundingClientRect();
};
const first = at("start"), last = at("end");
return first.width > 0 && first.height > 0 && first.top > -near && first.left > -near
  && last.bottom < innerHeight + near && last.right < innerWidth + near;
"""


@pytest.fixture(scope="module")
def report(finished, tmp_path_factory) -> Path:
    """The report of the finished study."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    style = ("--report-stylesheet", "workflow/report/report.css")
    code, text = finished.snakemake("--report", str(path), *style)
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


@pytest.fixture(params=SIZES, ids=lambda size: "x".join(map(str, size)))
def sized(browser, report, request):
    """The report in a window of some size, opened at its front page."""
    width, height = request.param
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get("about:blank")
    browser.get(report.as_uri())
    wait(browser, lambda: "The claims" in text(browser))
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def reached(page, element) -> bool:
    """Whether all of an element can be scrolled into the window."""
    return page.execute_script(REACHED, element)


def show(page, figure: str) -> str:
    """Open a figure and its caption; a selector of its image."""
    open_category(page, MENU[figure][0])
    row = f'//tr[td[normalize-space()="{MENU[figure][1]}"]]'
    click(page, f"{row}//a[@iconname='eye']")
    image = f"img[src*='filename={figure}.svg']"
    natural = f'return document.querySelector("{image}")?.naturalWidth || 0'
    wait(page, lambda: page.execute_script(natural))
    click(page, f"{row}//a[@iconname='information-circle']")
    wait(page, lambda: "SNAKEMAKE RULE" in text(page))
    return image


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
    top = page.find_element(By.CSS_SELECTOR, "div.prose h1").location["y"]
    assert 0 <= top < 200  # the front page begins at the top of the window
    assert "sign_flips: 200" not in front  # folded away
    page.find_element(By.CSS_SELECTOR, "div.prose summary").click()
    unfolded = text(page, "div.prose")[settings:]
    assert "sign_flips: 200" in unfolded
    assert "family: llama" in unfolded
    wide = page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert wide


def test_nothing_is_left_unrendered(page) -> None:
    front = text(page, "div.prose")
    assert not re.search(r"\{\{|\}\}|\{%|System Message|\|nbsp\||\bnan\b|\bNone\b", front)
    assert page.find_elements(By.CSS_SELECTOR, ".system-message, .problematic") == []


def test_the_menu_is_in_the_order_of_the_argument(page) -> None:
    entries = [item.text for item in page.find_elements(By.CSS_SELECTOR, "nav li")]
    shown = [entry for entry in entries if re.match(r"\d ", entry)]
    assert shown == list(dict.fromkeys(section for section, _ in MENU.values()))
    for section in shown:
        open_category(page, section)
        cells = [cell.text for cell in page.find_elements(By.CSS_SELECTOR, "nav td:first-child")]
        figures = [label for own, label in MENU.values() if own == section]
        table = [f"{section[0]} Table of all claims (CSV)"] * section.endswith("Claims")
        assert cells == table + figures
        click(page, "//a[normalize-space(text())='Results']")


def test_every_figure_and_caption_can_be_reached_and_read(sized) -> None:
    for figure, facts in FACTS.items():
        image = sized.find_element(By.CSS_SELECTOR, show(sized, figure))
        assert reached(sized, image), figure
        assert image.rect["width"] == image.get_property("naturalWidth") > 300, figure
        caption = sized.find_element(By.CSS_SELECTOR, "nav .prose")
        assert reached(sized, caption), figure
        assert facts.caption[:60] in caption.text
        assert f"Figure {figure} of study tiny" in caption.text
        assert "Intervals are at 95 %" in caption.text
        assert not re.search(r"\{\{|\}\}|\{%", caption.text)
        click(sized, "//a[normalize-space(text())='Results']")
    assert errors(sized) == []


@pytest.fixture(params=SIZES, ids=lambda size: "x".join(map(str, size)))
def own_page(browser, finished, request):
    """index.html of the finished study in a window of some size."""
    width, height = request.param
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get((finished.results / "index.html").as_uri())
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_all_of_the_page_can_be_reached_and_read(own_page) -> None:
    assert [e.get_attribute("id") for e in own_page.find_elements(By.CSS_SELECTOR, "figure")] == [
        f"figure-{figure}" for figure in FIGURES
    ]
    drawings = own_page.find_elements(By.CSS_SELECTOR, "figure svg[role=img]")
    assert len(drawings) == len(FIGURES)
    for element in (*drawings, *own_page.find_elements(By.CSS_SELECTOR, "figcaption, th, td")):
        if element.tag_name == "svg" or (element.is_displayed() and element.text):
            assert reached(own_page, element), element.text
    assert all(drawing.size["width"] >= 700 for drawing in drawings)
    number = own_page.find_element(By.CSS_SELECTOR, "details.number")
    number.find_element(By.CSS_SELECTOR, "summary").click()
    assert "abspos explain results/tiny/claims.csv:" in number.text
    whole = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert own_page.execute_script(whole)
    loaded = "return performance.getEntriesByType('resource').map(e => e.name)"
    assert own_page.execute_script(loaded) == []
    assert errors(own_page) == []


def test_every_table_and_the_graph_can_be_reached_and_read(sized) -> None:
    tables = sized.find_elements(By.CSS_SELECTOR, "div.prose table")
    assert len(tables) > 1
    for table in tables:
        for cell in (*table.find_elements(By.CSS_SELECTOR, "th"), table):
            assert reached(sized, cell), cell.text
    wait(sized, lambda: sized.find_elements(By.CSS_SELECTOR, "#rulegraph canvas, #rulegraph svg"))
    graph = sized.find_element(By.CSS_SELECTOR, "#rulegraph canvas, #rulegraph svg")
    sized.execute_script("arguments[0].scrollIntoView({block: 'start'})", graph)
    assert graph.rect["y"] + 1 >= 0
    whole = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert sized.execute_script(whole)  # nothing but tables and figures scrolls sideways
