"""The scripts of a study's page: its head map, and its tables of numbers.

Plain JavaScript without libraries. Without scripts the page reads the same, less the head map and
the table of energies. A module and no file of data, for the reason that page_template gives.
"""

#: Any table of class "sheet" can be searched, sorted and paged; the script makes its own controls.
TABLES = """
const PAGE = 50;

// numbers come with three digits; small ones are short in powers of ten
const digits = x => x === null ? "" : x !== 0 && Math.abs(x) < 1e-3 ? x.toExponential() : String(x);

function element(parent, tag, text, more = {}) {
  const made = Object.assign(document.createElement(tag), {textContent: text, ...more});
  return parent.appendChild(made);
}

// rows: {cells: texts, make: a function that gives the row's element}
function sheet(box, rows) {
  const table = box.querySelector("table"), body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const names = heads.map(head => head.textContent.trim().toLowerCase());
  let found = rows, first = 0;

  const above = document.createElement("div"), below = document.createElement("p");
  above.className = below.className = "screen controls";
  box.prepend(above);
  box.append(below);
  const label = element(above, "label", "Search ");
  const field = element(label, "input", "", {type: "search"});
  const status = element(above, "span", "", {role: "status"});
  element(above, "p", "Rows that hold all words are shown; layer=3 asks for a value of one column. "
    + "Click a column's name to sort.", {className: "dim"});
  const back = element(below, "button", "Previous rows", {type: "button"});
  const next = element(below, "button", "Next rows", {type: "button"});

  function show(from) {
    first = from;
    const last = Math.min(first + PAGE, found.length);
    body.replaceChildren(...found.slice(first, last).map(row => row.make()));
    const which = found.length ? `rows ${first + 1} to ${last} of ${found.length}` : "no rows";
    status.textContent = which + (found.length < rows.length ? ` (${rows.length} in all)` : "");
    back.disabled = first === 0;
    next.disabled = last === found.length;
  }
  back.addEventListener("click", () => show(Math.max(first - PAGE, 0)));
  next.addEventListener("click", () => show(first + PAGE));

  const holds = (row, word) => {
    const [name, value] = word.split("="), at = names.indexOf(name);
    if (value !== undefined && at >= 0) return row.cells[at].toLowerCase() === value;
    row.text ??= row.cells.join(" ").toLowerCase();
    return row.text.includes(word);
  };
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\\s+/).filter(Boolean);
    found = rows.filter(row => words.every(word => holds(row, word)));
    show(0);
  });

  heads.forEach((head, at) => {
    const text = head.textContent.trim(), number = "number" in head.dataset;
    const button = Object.assign(document.createElement("button"),
      {type: "button", textContent: text});
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending", way = up ? 1 : -1;
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      rows.sort((one, other) => {
        const [x, y] = [one.cells[at], other.cells[at]];
        if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);  // empty cells stand last
        return way * (number ? Number.parseFloat(x) - Number.parseFloat(y) : x < y ? -1 : +(x > y));
      });
      field.dispatchEvent(new Event("input"));
    });
  });
  show(0);
}

const written = box => [...box.querySelectorAll("tbody tr")].map(row => (
  {cells: [...row.cells].map(cell => cell.textContent.trim()), make: () => row}));

const energies = () => JSON.parse(document.getElementById("energy-data").textContent)
  .flatMap(block => block.energy.map((energy, i) => {
    const layer = Math.floor(i / block.heads);
    const [low, high] = [block.low[i], block.high[i]];
    const ends = low === null ? "" : ` [${digits(low)}, ${digits(high)}]`;
    const cells = [block.model, block.arm, String(layer), String(i % block.heads),
      block.kinds[layer], block.lens, block.component, digits(energy) + ends, digits(block.p[i])];
    const make = () => {
      const row = document.createElement("tr");
      cells.forEach(text => element(row, "td", text));
      return row;
    };
    return {cells, make};
  }));

const opened = (id, rows) => document.getElementById(id)?.addEventListener("toggle", event =>
  sheet(event.target.querySelector(".sheet"), rows(event.target)), {once: true});
opened("claim-rows", written);
opened("energy-rows", energies);
"""

#: The head map: cells to point at, focus and choose, and the attention row of the chosen head.
HEADS = """
(() => {
  const source = document.getElementById("head-data");
  if (!source) return;
  const data = JSON.parse(source.textContent), at = id => document.getElementById(`heads-${id}`);
  const [model, quantity, lens, query] = ["model", "quantity", "lens", "query"].map(at);
  const svg = (parent, tag, attributes = {}, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text;
    return parent.appendChild(made);
  };
  const root = (parent, width, height, attributes) => {
    parent.replaceChildren();
    return svg(parent, "svg", {viewBox: `0 0 ${width} ${height}`, width, height, ...attributes});
  };
  const percent = x => `${+(100 * x).toPrecision(3)} %`;
  let cells = [], chosen = 0, run, map, values, rings;

  // what a cell says, as [term, text]; the same on the screen and for a screen reader
  function told(i) {
    const layer = Math.floor(i / run.heads), value = values.value[i];
    const ends = values.low[i] === null ? ""
      : ` [${digits(values.low[i])}, ${digits(values.high[i])}]`;
    const units = map.units ? ` ${map.units}` : "";
    return [
      ["head", `layer ${layer}, head ${i % run.heads}`],
      ["kind of layer", run.kinds[layer]],
      [map.quantity, value === null ? "none" : digits(value) + ends + units],
      ["attention on position 0", percent(run.first[i])],
      ["sink share", `${percent(run.sinks[i])} of the inputs`],
    ];
  }
  function read(i) {
    at("read").replaceChildren();
    for (const [term, text] of told(i)) {
      const line = element(at("read"), "div", "");
      element(line, "dt", term);
      element(line, "dd", text);
    }
    place(rings[0], i);
  }
  function place(ring, i) {
    for (const name of ["x", "y"]) ring.setAttribute(name, cells[i].getAttribute(name));
  }
  function focus(i) {
    cells.forEach((cell, j) => cell.setAttribute("tabindex", i === j ? 0 : -1));
    cells[i].focus({preventScroll: false});
  }
  function choose(i) {
    cells[chosen]?.setAttribute("aria-selected", false);
    chosen = i;
    cells[i].setAttribute("aria-selected", true);
    place(rings[1], i);
    row();
  }

  function draw() {
    run = data.runs[model.value];
    const label = data.maps[quantity.value].label;
    const lensed = data.maps.filter(one => one.label === label);
    lens.disabled = lensed.length === 1;
    map = lensed.find(one => one.lens === lens.value) ?? lensed[0];
    values = map.runs[model.value];
    const layers = run.kinds.length, left = 40, top = 34;
    const wide = Math.max(9, Math.min(34, Math.floor(310 / run.heads)));
    const high = Math.max(12, Math.min(24, Math.floor(560 / layers)));
    const width = left + wide * run.heads + 6, height = top + high * layers + 6;
    const grid = root(at("map"), width, height, {role: "grid", "aria-rowcount": layers,
      "aria-colcount": run.heads, "aria-label": `${label}; layers are rows, heads are columns`});
    const text = (x, y, words, more = {}) => svg(grid, "text", {x, y, "aria-hidden": true, ...more},
      words);
    text(left + wide * run.heads / 2, 12, "head", {"text-anchor": "middle"});
    text(12, top + high * layers / 2, "layer", {"text-anchor": "middle",
      transform: `rotate(-90 12 ${top + high * layers / 2})`});
    const step = run.heads > 12 ? 4 : 1, stride = layers > 12 ? 5 : 1;
    for (let head = 0; head < run.heads; head += step)
      text(left + wide * (head + 0.5), top - 6, head, {"text-anchor": "middle"});
    cells = [];
    run.kinds.forEach((kind, layer) => {
      const line = svg(grid, "g", {role: "row", "aria-rowindex": layer + 1});
      const y = top + high * layer;
      if (layer % stride === 0)
        text(left - 8, y + high / 2 + 4, layer, {"text-anchor": "end"});
      if (new Set(run.kinds).size > 1 && kind.startsWith("sliding"))
        svg(grid, "rect", {x: left - 5, y: y + 0.5, width: 4, height: high - 1, class: "sliding"});
      for (let head = 0; head < run.heads; head++) {
        const i = layer * run.heads + head, x = left + wide * head;
        cells.push(svg(line, "rect", {x, y, width: wide, height: high, role: "gridcell",
          fill: values.color[i] ?? "#fff", "aria-colindex": head + 1, "aria-selected": false,
          "aria-label": told(i).map(pair => pair.join(" ")).join("; "), "data-at": i,
          tabindex: -1}));
        if (!values.color[i] && values.value[i] !== null)
          svg(line, "path", {class: "cross", "aria-hidden": true,
            d: `M${x + wide / 2 - 3} ${y + high / 2 - 3}l6 6m0 -6l-6 6`});
      }
    });
    rings = ["ring", "chosen"].map(name => svg(grid, "rect", {class: name, width: wide,
      height: high, "aria-hidden": true}));
    if (chosen >= cells.length) chosen = 0;
    cells[chosen].setAttribute("tabindex", 0);
    choose(chosen);
    read(chosen);
    at("crosses").hidden = !map.log || values.color.every(Boolean);
    at("sliding").hidden = !grid.querySelector(".sliding");
    bar(left + wide * run.heads);
  }

  function bar(width) {
    const size = Math.max(width, 200), inner = size - 40;
    const legend = root(at("scale"), size, 46, {role: "img", "aria-label":
      `colours from ${map.ticks[0][1]} to ${map.ticks.at(-1)[1]} ${map.units}`});
    map.scale.forEach((color, i) => svg(legend, "rect", {x: 20 + inner * i / map.scale.length, y: 0,
      width: inner / map.scale.length + 0.5, height: 12, fill: color}));
    for (const [place, text] of map.ticks) {
      svg(legend, "path", {d: `M${20 + inner * place} 12v4`, class: "axis"});
      svg(legend, "text", {x: 20 + inner * place, y: 27, "text-anchor": "middle"}, text);
    }
    svg(legend, "text", {x: size / 2, y: 42, "text-anchor": "middle"},
      map.units ? `${map.quantity} (${map.units})` : map.quantity);
  }

  function row() {
    const one = run.rows[query.selectedIndex] ?? run.rows[0];
    const layer = Math.floor(chosen / run.heads), head = chosen % run.heads;
    const lines = ["attention", "predicted"].map(name => one[name][chosen].map(x =>
      x === null ? null : x * data.unit));
    const last = one.query, sink = lines.map(line => line[last]);
    at("title").textContent = `Layer ${layer}, head ${head}: mean attention of query ${last}`;
    const share = x => x === null ? "out of sight" : percent(x);
    at("says").textContent = `On position 0: ${share(sink[0])}; the mask alone predicts `
      + `${share(sink[1])}.`;
    const left = 42, top = 24, width = 300, height = 190;
    const chart = root(at("row"), left + width + 14, top + height + 44, {role: "img",
      "aria-label": `${at("title").textContent}. ${at("says").textContent}`});
    const x = offset => left + width * offset / Math.max(last, 1);
    const y = value => top + height * (1 - Math.cbrt(value));
    svg(chart, "text", {x: 0, y: 12}, "mean attention (share, cube-root scale)");
    for (const tick of data.ticks) {
      svg(chart, "path", {class: "grid", d: `M${left} ${y(tick)}h${width}`});
      svg(chart, "text", {x: left - 6, y: y(tick) + 4, "text-anchor": "end"}, tick);
    }
    for (let i = 0; i <= last; i += Math.max(1, 2 ** Math.round(Math.log2(last / 6))))
      svg(chart, "text", {x: x(i), y: top + height + 16, "text-anchor": "middle"}, i);
    svg(chart, "text", {x: left + width / 2, y: top + height + 36, "text-anchor": "middle"},
      `offset: keys back from the query (${last} is position 0)`);
    lines.forEach((line, which) => {
      const points = line.map((value, i) => [x(i), value]).filter(point => point[1] !== null)
        .map(([along, value]) => `${along.toFixed(1)} ${y(value).toFixed(1)}`);
      svg(chart, "path", {class: ["model", "mask"][which], d: `M${points.join("L")}`});
      for (const point of points) {
        const [along, up] = point.split(" ").map(Number);
        const diamond = `M${along} ${up - 3}l3 3l-3 3l-3 -3z`;
        if (which) svg(chart, "path", {class: "mask mark", d: diamond});
        else svg(chart, "circle", {class: "model mark", cx: along, cy: up, r: 2.4});
      }
    });
    const body = at("numbers");
    body.replaceChildren();
    for (let i = 0; i <= last; i++) {
      const line = element(body, "tr", "");
      element(line, "th", i, {scope: "row"});
      for (const own of lines) element(line, "td", own[i] === null ? "" : own[i].toFixed(4));
    }
  }

  const grid = at("map"), cell = event => event.target.dataset?.at;
  const hovered = event => cell(event) !== undefined && read(Number(cell(event)));
  grid.addEventListener("mouseover", hovered);
  grid.addEventListener("focusin", hovered);
  grid.addEventListener("mouseleave", () => read(chosen));
  grid.addEventListener("click", event => {
    if (cell(event) === undefined) return;
    choose(Number(cell(event)));
    focus(chosen);
  });
  grid.addEventListener("keydown", event => {
    if (cell(event) === undefined) return;
    const i = Number(cell(event)), n = run.heads, head = i % n, last = cells.length - 1;
    const to = {ArrowLeft: head ? i - 1 : i, ArrowRight: head < n - 1 ? i + 1 : i,
      ArrowUp: i - n, ArrowDown: i + n, Home: event.ctrlKey ? 0 : i - head,
      End: event.ctrlKey ? last : i - head + n - 1}[event.key];
    if (event.key === "Enter" || event.key === " ") choose(i);
    else if (to === undefined) return;
    else if (to >= 0 && to <= last) focus(to);
    event.preventDefault();
  });

  data.runs.forEach((one, i) => model.add(new Option(one.name, i)));
  model.parentElement.hidden = data.runs.length === 1;
  data.maps.forEach((one, i) => {
    if (data.maps.findIndex(other => other.label === one.label) === i)
      quantity.add(new Option(one.label, i));
  });
  const queries = () => query.replaceChildren(...data.runs[model.value].rows.map(own =>
    new Option(own.query, own.query, true, true)));
  for (const select of [quantity, lens]) select.addEventListener("change", draw);
  model.addEventListener("change", () => { queries(); draw(); });
  query.addEventListener("change", row);
  queries();
  const first = data.maps.at(-1).runs[0].value;  // the largest sink excess, as in the schematic
  chosen = first.indexOf(Math.max(...first.filter(value => value !== null)));
  for (const hidden of document.querySelectorAll(".scripted")) hidden.hidden = false;
  draw();
})();
"""
