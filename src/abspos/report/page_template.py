"""The markup of a study's page (abspos.report.page): a Jinja2 template with its styles.

A module and no file of data, so that an edit changes the digest of the code that makes the page.
"""

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
input[type=search] { font: inherit; padding: 0.4rem 0.6rem; width: 100%; max-width: 30rem; }
@media (max-width: 700px) {
  h1 { font-size: 1.6rem; }
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
}
"""

MACROS = """
{% macro figure(one) %}
<figure id="figure-{{ one.name }}">
<div class="wide" tabindex="0" role="region" aria-label="{{ one.label }}">
{{ one.drawing | safe }}</div>
<figcaption><strong>{{ one.label }}.</strong> {{ one.caption }}
<a href="{{ one.file }}"><code>{{ one.file }}</code></a></figcaption>
</figure>
{% endmacro %}

{% macro verdict(found) %}
{% if found and found.verdict %}
<span class="badge {{ found.colour }}"><span aria-hidden="true">{{ found.sign }}</span>
{{ found.verdict }}</span>{% if found.marks %} <span class="mark">{{ found.marks }}</span>
{% endif %}
{% endif %}
{% endmacro %}

{% macro number(found, line, claim) %}
{% if found and found.text %}
<details class="number{{ " decides" if found.decides }}" data-line="{{ found.line }}"><summary
title="claims.csv, line {{ found.line }}: click for where it came from">{{ found.text }}</summary>
<dl>
<dt>file</dt><dd><a href="claims.csv"><code>claims.csv</code></a>, line {{ found.line }}</dd>
<dt>ledger entry</dt><dd><a href="ledger/claims.csv.json"><code>ledger/claims.csv.json</code></a>
</dd>
<dt>code</dt><dd><code>{{ claim.code }}</code></dd>
<dt>checkpoint</dt><dd>{{ line.row.checkpoint }}, revision <code>{{ line.row.revision }}</code></dd>
<dt>seed</dt><dd>{{ settings.seed }}</dd>
<dt>explain</dt>
<dd><code>.venv/bin/abspos explain {{ results }}/claims.csv:{{ found.line }}</code></dd>
</dl></details>
{% endif %}
{% endmacro %}
"""

BODY = """
<main>
<h1>Where does absolute position come from?</h1>
<p class="dim">Study <em>{{ study }}</em>:
{% for one in checkpoints if not one.gap %}{{ one.model }} ({{ one.revision }}){{ ", " if not
loop.last }}{% endfor %}; {{ settings.inputs.number }} inputs of {{ settings.inputs.length }}
tokens.</p>
<p>RoPE encodes offsets between tokens, and yet decoder-only transformers know where a token
stands. Two sources are claimed: the causal mask, through the softmax denominator of each query, and
the residual stream, through the trajectory of position 0 that attention sinks read.</p>
{% if settings.inputs.number < least %}
<p class="warn"><strong>Preliminary:</strong> {{ settings.inputs.number }} inputs; verdicts count
from {{ least }} on.</p>
{% endif %}
{% if synthetic %}
<p class="warn"><strong>Synthetic:</strong> the logits of {{ synthetic | join(", ") }} are planted.
No verdict on them says anything about the paper.</p>
{% endif %}
{% for model, said in lead if said %}
<p class="lead">{% if several %}{{ model }}: {% endif %}{{ said }}</p>
{% endfor %}
<nav aria-label="Sections"><ul>
<li><a href="#verdicts">Verdicts</a></li>
<li><a href="#words">In words</a></li>
{% if pictures %}<li><a href="#figures">Figures</a></li>{% endif %}

<li><a href="#fixed">Fixed beforehand</a></li>
<li><a href="#controls">Controls</a></li>
<li><a href="#sources">Sources</a></li>
<li><a href="#all">All numbers</a></li>
<li><a href="#settings">Settings</a></li>
</ul></nav>
{% if schematic %}{{ figure(schematic) }}{% endif %}
{% if hero %}{{ figure(hero) }}{% endif %}

<section aria-labelledby="verdicts">
<h2 id="verdicts">Verdicts</h2>
<p>{{ ours | safe }}</p>
<p>Each line is one number with its {{ level }} % interval over inputs. Bold numbers decide; the
others are the same number in the other lens or in another reading of the residual-stream
component. Click a number to see where it came from.</p>
<table class="cards" role="table">
<thead role="rowgroup"><tr role="row"><th scope="col" role="columnheader">number</th>
{% if several %}<th scope="col" role="columnheader">model</th>{% endif %}
<th scope="col" role="columnheader">reading</th><th scope="col" role="columnheader">log lens</th>
<th scope="col" role="columnheader">probability lens</th>
<th scope="col" role="columnheader">claimed</th><th scope="col" role="columnheader">N</th>
<th scope="col" role="columnheader">note</th></tr></thead>
{% for claim in claims %}
<tbody role="rowgroup" data-claim="{{ claim.name }}">
<tr role="row"><th scope="rowgroup" role="rowheader" colspan="{{ 8 if several else 7 }}">{{
claim.statement }} <code>{{ claim.name }}</code>
<span class="mark">{{ "theorem" if claim.kind == "theorem" else "measured" }}</span></th></tr>
{% if not claim.lines %}
<tr role="row">
<td role="cell" colspan="{{ 8 if several else 7 }}">no verdict in this study</td></tr>
{% endif %}
{% for line in claim.lines %}
<tr role="row"{% if line.row.primary %} class="primary"{% endif %}>
<th scope="row" role="rowheader">{{ line.number or "no number" }}
{% if line.row.arms %}<br><span class="mark">{{ line.row.arms }}</span>{% endif %}</th>
{% if several %}<td role="cell" data-label="model">{{ line.row.model }}
({{ line.row.revision }})</td>{% endif %}
<td role="cell" data-label="reading">{{ line.row.reading }}{% if line.row.get("fixed") %}
 <span class="mark">{{ line.row.fixed }}</span>{% endif %}</td>
<td role="cell" data-label="log lens">{{ verdict(line.log) }}{{
number(line.log, line, claim) }}</td>
<td role="cell" data-label="probability lens">{{ verdict(line.probability) }}{{
number(line.probability, line, claim) }}</td>
<td role="cell" class="short" data-label="claimed">{{ line.row.claimed }}</td>
<td role="cell" data-label="N">{% if line.row.n_inputs != "" %}{{ line.row.n_inputs | int }}{% endif
%}</td>
<td role="cell" data-label="note">{{ line.note }}</td></tr>
{% endfor %}
</tbody>
{% endfor %}
</table>
</section>

<section aria-labelledby="words">
<h2 id="words">In words</h2>
{% for model, said in words %}
{% if several %}<h3>{{ model }}</h3>{% endif %}
<ul>{% for text in said %}<li>{{ text }}</li>{% endfor %}</ul>
{% endfor %}
</section>

{% if pictures %}
<section aria-labelledby="figures">
<h2 id="figures">Figures</h2>
{% for one in pictures %}{{ figure(one) }}{% endfor %}
</section>
{% endif %}

<section aria-labelledby="fixed">
<h2 id="fixed">What was fixed beforehand, and what was not</h2>
<ul>
<li>Fixed before the project had a result: the decomposition, its estimators and intervals, the
replacements of BOS, and the thresholds. The smallest reduction that counts is {{ "%g" | format(100
* sizes.reduction) }} points, the smallest share {{ "%g" | format(100 * sizes.share) }} %. A claimed
size, such as {{ "%g" | format(100 * swap) }} % of bos-swap, is confirmed by an interval that
covers it with a half-width of at most {{ "%g" | format(100 * half_width) }} points. The number that
decides each claim was named: log lens, median head.</li>
<li>Fixed after one model had been seen: two of the three readings of the residual-stream
component. {% for one in readings %}<strong>{{ one.name }}</strong> is {{ one.meaning }}{{ "; " if
not loop.last else "." }}{% endfor %} On the model that had been seen they are marked <em>post
hoc</em>; on others the reading that decides is set in the config before the run.</li>
<li>Chosen on the inputs that they are shown for: heads in figures whose captions say so.</li>
</ul>
{% if fixed %}
<div class="wide" tabindex="0" role="region" aria-label="Readings by model">
<table><thead><tr><th scope="col">model</th><th scope="col">deciding reading</th>
{% for one in readings %}<th scope="col">{{ one.name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in fixed %}<tr><th scope="row">{{ row.model }}</th><td>{{ row.decides }}</td>
{% for one in readings %}<td>{{ row[one.name] }}</td>{% endfor %}</tr>{% endfor %}</tbody></table>
</div>
{% endif %}
</section>

<section aria-labelledby="controls">
<h2 id="controls">Null controls</h2>
{% if controls %}
<p>A null control must have no effect. The last column is the number that it guards.</p>
<table class="cards" role="table"><thead role="rowgroup"><tr role="row">
{% for head in ("null control", "model", "arm", "measured", "passed", "guards") %}
<th scope="col" role="columnheader">{{ head }}</th>{% endfor %}</tr></thead>
<tbody role="rowgroup">{% for row in controls %}
<tr role="row"><th scope="row" role="rowheader">{{ row.check }}</th>
{% for name in ("model", "arm", "measured", "passed", "guards") %}
<td role="cell" data-label="{{ name }}">{{ row[name] }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table>
{% else %}
<p>This study ran no null control.</p>
{% endif %}
</section>

<section aria-labelledby="sources">
<h2 id="sources">Where the numbers came from</h2>
<p>Each result has an entry in <code>{{ results }}/ledger</code>: bytes, code, config, model
revision, packages, machine and seeds. From the project's folder:</p>
<ul>
<li><code>.venv/bin/abspos explain {{ results }}/claims.csv:2</code>: one line of a table</li>
{% for one in [hero, schematic] if one %}
<li><code>.venv/bin/abspos explain {{ results }}/{{ one.file }}</code>: a figure</li>
{% endfor %}
<li><code>.venv/bin/abspos verify</code>: reads all results again, with <code>--configfile</code>
for another study than the default one</li>
</ul>
<div class="wide" tabindex="0" role="region" aria-label="Checkpoints">
<table><thead><tr><th scope="col">model</th><th scope="col">revision</th><th scope="col">repository
and commit</th><th scope="col">not measured because</th></tr></thead>
<tbody>{% for one in checkpoints %}<tr><th scope="row">{{ one.model }}</th>
<td>{{ one.revision }}</td><td>{{ one.repo }} {{ one.commit }}</td><td>{{ one.gap }}</td></tr>
{% endfor %}</tbody></table></div>
</section>

<section aria-labelledby="all">
<h2 id="all">All numbers of the claims</h2>
<p>Every row of <a href="claims.csv"><code>claims.csv</code></a>; energies of single heads are in
<a href="statistics/energies.csv"><code>statistics/energies.csv</code></a>.</p>
<details><summary>Table of {{ rows | length }} rows</summary>
<p class="screen"><label>Rows that hold all of these words:
<input type="search" id="words-of-rows"></label> <span id="matches" role="status"></span></p>
<div class="wide" tabindex="0" role="region" aria-label="All numbers of the claims">
<table id="rows"><thead><tr><th scope="col">line</th>
{% for name in columns %}<th scope="col">{{ name }}</th>{% endfor %}
<th scope="col">estimate</th></tr></thead>
<tbody>{% for row in rows %}
<tr><th scope="row">{{ row.line }}</th>
{% for name in columns %}<td>{{ row[name] }}</td>{% endfor %}<td>{{ row.text }}</td></tr>
{% endfor %}</tbody></table></div></details>
</section>

<section aria-labelledby="settings">
<h2 id="settings">Settings</h2>
<details class="settings"><summary>All settings of the study, defaults included</summary>
<pre>{{ yaml }}</pre></details>
</section>
</main>
"""

#: Hides the rows of the last table that lack a word of the search.
SCRIPT = """
const field = document.getElementById("words-of-rows");
const rows = [...document.querySelectorAll("#rows tbody tr")];
const texts = rows.map(row => row.textContent.toLowerCase());
field.addEventListener("input", () => {
  const words = field.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let shown = 0;
  rows.forEach((row, i) => {
    row.hidden = !words.every(word => texts[i].includes(word));
    shown += !row.hidden;
  });
  document.getElementById("matches").textContent = `${shown} of ${rows.length} rows`;
});
"""

PAGE = f"""{MACROS}<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Where does absolute position come from? Study {{{{ study }}}}</title>
<style>{STYLES}</style>
</head>
<body>
{BODY}
<script>{SCRIPT}</script>
</body>
</html>
"""
