"""The styles of a study's page: part of the template that abspos.report.page_template makes."""

STYLES = """
:root { --ink: #1b1f24; --dim: #57606a; --line: #d0d7de; --soft: #f6f8fa; --link: #0a58a8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 68rem; color: var(--ink);
  background: #fff; font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.4rem; margin: 2.5rem 0 0.75rem; padding-top: 0.5rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 0.25rem; }
a { color: var(--link); }
p, ul { max-width: 46rem; }
.lead { font-size: 1.2rem; }
.dim, figcaption, .mark { color: var(--dim); }
.warn { border-left: 4px solid #b35900; padding: 0.4rem 0.8rem; background: #fff6e8; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; padding: 0; list-style: none; }
figure { margin: 1.5rem 0 2.5rem; }
figcaption { max-width: 46rem; font-size: 0.95rem; }
.wide { overflow-x: auto; }
.wide:focus-visible, summary:focus-visible, a:focus-visible { outline: 3px solid var(--link); }
figure svg, figure img { display: block; height: auto; min-width: 44rem; max-width: 100%; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; }
th, td { text-align: left; vertical-align: top; padding: 0.4rem 0.6rem 0.4rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
tbody th[scope=rowgroup] { background: var(--soft); padding: 0.6rem; font-weight: 600; }
tbody th[scope=row] { font-weight: 400; }
code, pre { font: 0.88em/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
pre { white-space: pre-wrap; background: var(--soft); padding: 1rem; }
summary { cursor: pointer; }
.badge { display: inline-block; padding: 0 0.5em; border-radius: 0.75em; font-size: 0.9em;
  border: 1px solid currentColor; white-space: nowrap; }
.yes { color: #05603a; background: #e7f6ee; }
.partly { color: #7a4a00; background: #fff3dc; }
.no { color: #9c1c1c; background: #fdecec; }
.open { color: #44505c; background: #eef1f4; }
.primary th[scope=row], .decides summary { font-weight: 600; }
.primary .mark { font-weight: 400; }
.short { white-space: nowrap; }
details.number > summary { text-decoration: underline dotted; text-underline-offset: 0.2em; }
details.number dl { margin: 0.3rem 0; padding: 0.5rem; background: var(--soft); font-weight: 400;
  font-size: 0.9em; }
dt { color: var(--dim); }
dd { margin: 0 0 0.25rem; }
input, select, button { font: inherit; }
input[type=search] { padding: 0.4rem 0.6rem; width: 100%; max-width: 30rem; }
.controls, .explorer form { display: flex; flex-wrap: wrap; gap: 0.5rem 1.25rem;
  align-items: baseline; margin: 0.75rem 0; }
.controls .dim { margin: 0; width: 100%; font-size: 0.9rem; }
.sheet thead button { all: unset; cursor: pointer; font-weight: 600; text-decoration: underline
  dotted; text-underline-offset: 0.2em; }
.sheet thead button:focus-visible { outline: 3px solid var(--link); }
[aria-sort=ascending] button::after { content: " \\25b2"; }
[aria-sort=descending] button::after { content: " \\25bc"; }
.explorer > div { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; align-items: flex-start; }
.explorer > div > div { flex: 0 1 auto; min-width: 0; max-width: 100%; }
.explorer > div > div + div { flex: 1 1 21rem; }
.explorer label { max-width: 100%; }
.explorer select { max-width: calc(100vw - 6rem); padding: 0.2rem; text-overflow: ellipsis; }
.explorer > div > div > p { max-width: 24rem; }
.explorer svg { display: block; max-width: 100%; height: auto; }
.explorer svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.explorer dl { margin: 0 0 1rem; }
.explorer dl div { display: flex; gap: 0.5rem; border-bottom: 1px solid var(--line);
  padding: 0.15rem 0; }
.explorer dt { flex: 0 0 12.5rem; }
.explorer dd { margin: 0; }
.explorer h4 { margin: 1rem 0 0.25rem; font-size: 1rem; }
[role=gridcell] { cursor: pointer; outline: none; stroke: #fff; stroke-width: 0.5; }
.ring, .chosen { fill: none; pointer-events: none; stroke: #000; stroke-width: 2; }
.chosen { stroke: #fff; stroke-width: 2; outline: 2px solid #000; }
.cross { stroke: #505050; fill: none; pointer-events: none; }
.sliding { fill: {{ colors.sliding }}; }
.axis, .grid { stroke: #b0b0b0; fill: none; }
path.model { fill: none; stroke: {{ colors.model }}; stroke-width: 1.6; }
path.mask { fill: none; stroke: {{ colors.mask }}; stroke-width: 1.6; stroke-dasharray: 5 2; }
.model.mark { fill: {{ colors.model }}; }
path.mask.mark { fill: #fff; stroke-dasharray: none; stroke-width: 1.2; }
[hidden] { display: none !important; }
@media screen and (min-width: 1000px) { details.number > summary { white-space: nowrap; } }
@media (max-width: 700px) {
  h1 { font-size: 1.6rem; }
  .explorer > div > div { display: contents; }
  .explorer > div > div > * { width: 100%; margin-bottom: 0; }
  #heads-read { order: -1; }
  table.cards, .cards tbody, .cards tr, .cards td, .cards th { display: block; }
  .cards thead { position: absolute; left: -100rem; }
  .cards tr { border-bottom: 2px solid var(--line); padding: 0.4rem 0; }
  .cards td, .cards tbody th { border: 0; padding: 0.1rem 0.4rem; }
  .cards td:empty { display: none; }
  .cards td[data-label]::before { content: attr(data-label) ": "; color: var(--dim);
    font-weight: 400; }
}
@media print {
  nav, .screen { display: none; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  figure, tbody tr { break-inside: avoid; }
  figure svg, figure img { min-width: 0; }
  .wide { overflow: visible; }
  table { font-size: 8.5pt; }
}
"""
