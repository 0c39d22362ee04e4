"""The report is one file that a browser opens without a network, and everything is found in it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from abspos import load_components
from abspos.csv_tables import read_csv
from abspos.figures import FIGURES as EVERY_FIGURE
from abspos.figures import facts as declared
from abspos.figures.facts import ONLY_WITH
from abspos.figures.head_maps import scale

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
const reached = element => {
  const near = 1;
  const at = side => {
    element.scrollIntoView({block: side, inline: side, behavior: "instant"});
    return element.getBoundingClientRect();
  };
  const first = at("start"), last = at("end");
  return first.width > 0 && first.height > 0 && first.top > -near && first.left > -near
    && last.bottom < innerHeight + near && last.right < innerWidth + near;
};
"""
#: Of all elements of a selector that show something: their number, and those out of reach.
UNREACHED = """
// A table that becomes cards has its head beside the page, for screen readers alone.
const aside = e => [e.closest("thead")].some(
  head => head && getComputedStyle(head).position === "absolute");
const shows = e => e.tagName === "svg" || (e.checkVisibility({visibilityProperty: true})
  && e.innerText.trim() && !aside(e));
const shown = [...document.querySelectorAll(arguments[0])].filter(shows);
return [shown.length, shown.filter(e => !reached(e)).map(e => e.outerHTML.slice(0, 200))];
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
    return page.execute_script(f"{REACHED} return reached(arguments[0])", element)


def unreached(page, selector: str) -> tuple[int, list[str]]:
    """How many elements show something, and which of them cannot be scrolled into the window.

    In one call: a page has a thousand cells, and each question to the driver takes milliseconds.
    """
    number, found = page.execute_script(REACHED + UNREACHED, selector)
    return number, found


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
    (schematic,) = page.find_elements(By.CSS_SELECTOR, "div.prose img")
    assert schematic.get_attribute("alt") == FACTS["schematic"].label
    assert schematic.location["y"] < 300
    assert reached(page, schematic)
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
    number, missed = unreached(own_page, "figure svg[role=img], figcaption, th, td")
    assert number > 100
    assert missed == []
    assert all(drawing.size["width"] >= 700 for drawing in drawings)
    number = own_page.find_element(By.CSS_SELECTOR, "details.number")
    number.find_element(By.CSS_SELECTOR, "summary").click()
    assert "abspos explain results/tiny/claims.csv:" in number.text
    whole = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert own_page.execute_script(whole)
    loaded = "return performance.getEntriesByType('resource').map(e => e.name)"
    assert own_page.execute_script(loaded) == []
    assert errors(own_page) == []


def value_of(table: pd.DataFrame, **wanted) -> str:
    """The one energy of a table as the page shows it, in JavaScript's digits."""
    for column, value in wanted.items():
        table = table[table[column] == value]
    (row,) = table.to_dict("records")
    return "{:.3g} [{:.3g}, {:.3g}]".format(*(row[c] for c in ("energy", "ci_low", "ci_high")))


def shown_numbers(text: str) -> list[float]:
    """Numbers of a text, whatever digits they are written with."""
    return [float(number) for number in re.findall(r"-?\d[\d.]*(?:e[+-]?\d+)?", text)]


def head_cell(page, layer: int, head: int):
    """The cell of one head on the head map."""
    path = f"#heads-map [role=gridcell][aria-label*='layer {layer}, head {head};']"
    found = page.find_element(By.CSS_SELECTOR, path)
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
    return found


def choose(page, id: str, label: str) -> None:
    """Choose an option of a select element by how its text begins."""
    field = Select(page.find_element(By.ID, id))
    field.select_by_visible_text(next(o.text for o in field.options if o.text.startswith(label)))


def test_the_head_map_shows_each_head_to_pointer_keyboard_and_reader(own_page, finished) -> None:
    energies = pd.read_csv(finished.results / "statistics/energies.csv")
    sinks = pd.read_csv(finished.results / "statistics/sinks.csv")
    energies, sinks = (
        t[(t["variant"] == "standard") & (t["condition"] == "bos")]
        for t in (
            energies[energies["bin"] == "early"],
            sinks,
        )
    )
    cells = own_page.find_elements(By.CSS_SELECTOR, "#heads-map [role=gridcell]")
    assert len(cells) == len(sinks)
    for element in (*cells, *own_page.find_elements(By.CSS_SELECTOR, ".explorer p, .explorer dd")):
        assert not element.is_displayed() or reached(own_page, element), element.text
    top = sinks.loc[sinks["sink_excess"].idxmax()]
    title = own_page.find_element(By.ID, "heads-title")
    assert title.text.startswith(f"Layer {top['layer']}, head {top['head']}:")

    choose(own_page, "heads-quantity", "mask:")
    choose(own_page, "heads-lens", "attention")
    wanted = value_of(energies, layer=1, head=1, lens="probability", component="mask")
    ActionChains(own_page).move_to_element(head_cell(own_page, 1, 1)).perform()
    read = own_page.find_element(By.ID, "heads-read").text
    assert "layer 1, head 1" in read
    assert set(shown_numbers(wanted)) <= set(shown_numbers(read))
    share = sinks[(sinks["layer"] == 1) & (sinks["head"] == 1)]["sink_share"].item()
    assert float(f"{100 * share:.3g}") in shown_numbers(read)
    label = head_cell(own_page, 1, 1).get_attribute("aria-label")
    assert set(shown_numbers(wanted)) <= set(shown_numbers(label))

    own_page.execute_script("arguments[0].focus()", head_cell(own_page, 0, 0))
    ActionChains(own_page).send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ENTER).perform()
    assert own_page.switch_to.active_element.get_attribute("aria-label") == label
    assert title.text.startswith("Layer 1, head 1:")
    reachable = own_page.find_elements(By.CSS_SELECTOR, "#heads-map [tabindex='0']")
    assert [cell.get_attribute("aria-selected") for cell in reachable] == ["true"]
    head_cell(own_page, 0, 1).click()
    assert title.text.startswith("Layer 0, head 1:")


def test_the_head_map_has_the_rows_of_the_store_and_the_colours_of_the_figure(
    own_page, finished
) -> None:
    store = load_components(finished.store("components")[0]).isel(layer=1, head=1)
    own_page.execute_script(
        "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))",
        head_cell(own_page, 1, 1),
    )
    choose(own_page, "heads-query", "12")
    row = own_page.find_elements(By.CSS_SELECTOR, "#heads-numbers tr td:nth-child(2)")
    numbers = [float(cell.get_attribute("textContent")) for cell in row]
    wanted = store["attention"].sel(query=12).values[:13]
    assert numbers == pytest.approx(wanted, abs=6e-5)
    assert f"{100 * wanted[12]:.2g}" in own_page.find_element(By.ID, "heads-says").text
    assert reached(own_page, own_page.find_element(By.CSS_SELECTOR, "#heads-row svg"))

    energies = pd.read_csv(finished.results / "statistics/energies.csv")
    chosen = (energies["component"] == "residual") & (energies["bin"] == "early")
    chosen &= (energies["lens"] == "log") & (energies["variant"] == "standard")
    table = energies[chosen & (energies["condition"] == "bos")].sort_values(["layer", "head"])
    choose(own_page, "heads-quantity", "R:")
    choose(own_page, "heads-lens", "log")
    norm, name = scale(table["energy"].to_numpy(), log=True)
    fills = [
        cell.get_attribute("fill")
        for cell in own_page.find_elements(By.CSS_SELECTOR, "#heads-map [role=gridcell]")
    ]
    colours = matplotlib.colormaps[name]
    assert fills == [to_hex(colours(norm(x))) if x > 0 else "#fff" for x in table["energy"]]
    assert errors(own_page) == []


def test_the_tables_of_numbers_can_be_searched_sorted_and_paged(own_page, finished) -> None:
    claims = read_csv(finished.results / "claims.csv")
    box = own_page.find_element(By.ID, "claim-rows")
    box.find_element(By.CSS_SELECTOR, "summary").click()
    wait(own_page, lambda: box.find_elements(By.CSS_SELECTOR, "[type=search]"))

    def cells(column: int) -> list[str]:
        found = box.find_elements(By.CSS_SELECTOR, f"tbody tr > :nth-child({column})")
        return [cell.text for cell in found]

    assert len(cells(1)) == min(50, len(claims))
    status = box.find_element(By.CSS_SELECTOR, "[role=status]")
    assert f"of {len(claims)}" in status.text
    *_, next_rows = box.find_elements(By.CSS_SELECTOR, ".controls button")
    next_rows.click()
    assert cells(1)[0] == "52"  # line 1 is the header
    box.find_element(By.CSS_SELECTOR, "[type=search]").send_keys("bos-swap lens=log swap-token")
    assert set(cells(2)) == {"bos-swap"}
    assert "in all" in status.text
    head = box.find_elements(By.CSS_SELECTOR, "th button")[-1]
    for order, way in (("ascending", 1), ("descending", -1)):
        head.click()
        values = [way * shown_numbers(text)[0] for text in cells(13) if text]
        assert values == sorted(values)
        assert len(values) > 1
        assert box.find_elements(By.CSS_SELECTOR, f"th[aria-sort={order}]")

    energies = read_csv(finished.results / "statistics/energies.csv")
    box = own_page.find_element(By.ID, "energy-rows")
    box.find_element(By.CSS_SELECTOR, "summary").click()
    wait(own_page, lambda: box.find_elements(By.CSS_SELECTOR, "[type=search]"))
    early = energies[energies["bin"] == "early"]
    assert f"of {len(early)}" in box.find_element(By.CSS_SELECTOR, "[role=status]").text
    words = "layer=1 head=0 component=sink lens=log arm=standard/bos"
    box.find_element(By.CSS_SELECTOR, "[type=search]").send_keys(words)
    early = early[(early["variant"] == "standard") & (early["condition"] == "bos")]
    (text,) = cells(8)
    wanted = value_of(early, layer=1, head=0, lens="log", component="sink")
    assert shown_numbers(text) == shown_numbers(wanted)
    assert errors(own_page) == []


def test_the_page_prints_the_figures_and_nothing_to_click(own_page) -> None:
    own_page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    paper = {"width": 720, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    own_page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
    try:
        cut = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert own_page.execute_script(cut) == 0
        assert own_page.find_element(By.ID, "figure-head_maps").is_displayed()
        for unprinted in ("nav", ".explorer", "input", "select", "button", "#energy-rows"):
            elements = own_page.find_elements(By.CSS_SELECTOR, unprinted)
            assert not any(element.is_displayed() for element in elements), unprinted
    finally:
        own_page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_page_reads_without_scripts(browser, finished) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get((finished.results / "index.html").as_uri())
        assert not browser.find_element(By.CSS_SELECTOR, ".explorer").is_displayed()
        assert not browser.find_element(By.ID, "energy-rows").is_displayed()
        browser.find_element(By.CSS_SELECTOR, "#claim-rows summary").click()
        rows = browser.find_elements(By.CSS_SELECTOR, "#rows tbody tr")
        assert len(rows) == len(read_csv(finished.results / "claims.csv"))
        assert rows[-1].is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_every_table_and_the_graph_can_be_reached_and_read(sized) -> None:
    assert len(sized.find_elements(By.CSS_SELECTOR, "div.prose table")) > 1
    number, missed = unreached(sized, "div.prose table, div.prose table th")
    assert number > 10
    assert missed == []
    wait(sized, lambda: sized.find_elements(By.CSS_SELECTOR, "#rulegraph canvas, #rulegraph svg"))
    graph = sized.find_element(By.CSS_SELECTOR, "#rulegraph canvas, #rulegraph svg")
    sized.execute_script("arguments[0].scrollIntoView({block: 'start'})", graph)
    assert graph.rect["y"] + 1 >= 0
    whole = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert sized.execute_script(whole)  # nothing but tables and figures scrolls sideways
