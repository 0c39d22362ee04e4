"""The markup of a study's page (abspos.report.page): a Jinja2 template.

A module and no file of data, so that an edit changes the digest of the code that makes the page.
"""

from abspos.report.page_scripts import HEADS, TABLES
from abspos.report.page_styles import STYLES

MACROS = """
{% macro figure(one) %}
<figure id="figure-{{ one.name }}">
<div class="wide" tabindex="0" role="region" aria-label="{{ one.label }}">
{{ one.drawing | safe }}</div>
<figcaption><strong>{{ one.label }}.</strong> {{ one.caption }}
<a href="{{ one.file }}"><code>{{ one.file }}</code></a></figcaption>
</figure>
{% endmacro %}

{% macro explorer(parts) %}
<div class="explorer screen scripted" role="group" aria-labelledby="heads" hidden>
<h3 id="heads">Head by head</h3>
<p>Each cell is one attention head of the standard model, with BOS at position 0 (the text's own
first token, in a model without BOS). Point at a cell, or move to it with the arrow keys, to read
its numbers; click it, or press Enter, to see its mean attention row.</p>
<p>Energies and excess attention are those of early queries (1 to {{ settings.bins.early - 1 }}),
with {{ level }} % intervals. <em>Attention on position 0</em> is the mean over all queries.
<em>Sink share</em> is the share of inputs on which the head gives position 0 more than 0.3 of its
attention. The colours are those of the figure above.</p>
<form>
<label>Model <select id="heads-model"></select></label>
<label>Show <select id="heads-quantity"></select></label>
<label>Lens <select id="heads-lens"><option value="log">log attention</option>
<option value="probability">attention (probability)</option></select></label>
</form>
<div>
<div>
<div id="heads-map"></div>
<div id="heads-scale"></div>
<p class="dim" id="heads-crosses" hidden>✕ marks estimates of 0 or less: energies are unbiased and
may be negative.</p>
<p class="dim" id="heads-sliding" hidden>A green bar marks layers with sliding attention.</p>
</div>
<div>
<dl id="heads-read"></dl>
<h4 id="heads-title" role="status"></h4>
<p id="heads-says"></p>
<div id="heads-row"></div>
<p class="dim">● the model; ◇ dashed: what the mask alone predicts, which is the same head at later
queries, cut to as many keys.</p>
<p><label>Query <select id="heads-query"></select></label></p>
<details><summary>The row as numbers</summary>
<table><thead><tr><th scope="col">offset</th><th scope="col">attention</th>
<th scope="col">mask alone</th></tr></thead><tbody id="heads-numbers"></tbody></table></details>
</div>
</div>
<script type="application/json" id="head-data">{{ parts | safe }}</script>
</div>
{% endmacro %}

{% macro verdict(found) %}
{% if found and found.verdict %}
<span class="badge {{ found.colour }}"><span aria-hidden="true">{{ found.sign }}</span>
{{ found.verdict }}</span>{% if found.marks %} <span class="mark">{{ found.marks }}</span>
{% endif %}
{% endif %}
{% endmacro %}

{% macro standing(text) %}
{% set sign, colour = signs.get(text.partition(" (")[0], ("", "")) %}
{% if sign %}<span class="badge {{ colour }}"><span aria-hidden="true">{{ sign }}</span>
{{ text.partition(" (")[0] }}</span>
{% if "(" in text %}<span class="mark">({{ text.partition(" (")[2] }}</span>{% endif %}
{% else %}{{ text }}{% endif %}
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
{{ studied | join(", ") }}; {{ settings.inputs.number }} inputs of {{ settings.inputs.length }}
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
<li><a href="#numbers">Numbers</a></li>
{% if pictures %}<li><a href="#figures">Figures</a></li>{% endif %}

{% if heads %}<li class="scripted" hidden><a href="#heads">Head by head</a></li>{% endif %}

<li><a href="#fixed">Fixed beforehand</a></li>
{% if across %}<li><a href="#across">Across architectures</a></li>{% endif %}

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
<p>The <em>log lens</em> looks at log attention, in nats; the <em>probability lens</em> at attention
itself. A claim's verdict is the weakest of the verdicts on the numbers that decide it.</p>
<table class="cards" role="table"><thead role="rowgroup"><tr role="row">
{% for head in ("claim", "log lens", "probability lens") %}
<th scope="col" role="columnheader">{{ head }}</th>{% endfor %}</tr></thead>
<tbody role="rowgroup">{% for name, statement, log, probability in overall %}
<tr role="row"><th scope="row" role="rowheader"><a href="#claim-{{ name }}">{{ statement }}</a></th>
<td role="cell" data-label="log lens">{{ standing(log) }}</td>
<td role="cell" data-label="probability lens">{{ standing(probability) }}</td></tr>{% endfor %}
</tbody></table>
</section>

<section aria-labelledby="words">
<h2 id="words">In words</h2>
{% for model, said in words %}
{% if several %}<h3>{{ model }}</h3>{% endif %}
<ul>{% for text in said %}<li>{{ text }}</li>{% endfor %}</ul>
{% endfor %}
</section>

<section aria-labelledby="numbers">
<h2 id="numbers">Numbers behind the verdicts</h2>
<p>Each line is one number with its {{ level }} % interval over inputs.
{{ sources | safe }} Bold numbers decide; the
others are the same number in the other lens or in another reading of the residual-stream
component. Below a reading stands when it was chosen: <em>beforehand</em>, or <em>post hoc</em>,
after this model had been seen. An <em>energy</em> is the squared size of a component's mean over
inputs. Click a number to see where it came from.</p>
<table class="cards" role="table">
<thead role="rowgroup"><tr role="row"><th scope="col" role="columnheader">number</th>
{% if several %}<th scope="col" role="columnheader">model</th>{% endif %}
<th scope="col" role="columnheader">reading</th><th scope="col" role="columnheader">log lens</th>
<th scope="col" role="columnheader">probability lens</th>
<th scope="col" role="columnheader">claimed</th><th scope="col" role="columnheader">N</th>
<th scope="col" role="columnheader">note</th></tr></thead>
{% for claim in claims %}
<tbody role="rowgroup" data-claim="{{ claim.name }}">
<tr role="row"><th scope="rowgroup" role="rowheader" colspan="{{ 8 if several else 7 }}"
id="claim-{{ claim.name }}">{{ claim.statement }} <code>{{ claim.name }}</code>
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
<td role="cell" data-label="reading">{{ line.row.reading }}{% if line.row.get("fixed") %}<br>
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

{% if pictures %}
<section aria-labelledby="figures">
<h2 id="figures">Figures</h2>
{% for one in pictures %}{{ figure(one) }}
{% if one.name == mapped and heads %}{{ explorer(heads) }}{% endif %}
{% endfor %}
</section>
{% endif %}

<section aria-labelledby="fixed">
<h2 id="fixed">What was fixed beforehand, and what was not</h2>
<ul>
<li>Fixed before the project had a result: the decomposition, the energies, the replacements of BOS,
the claimed sizes, and the number that decides each claim: log lens, median head.</li>
<li>Revised after the first result: intervals, from balanced halves of the inputs, and the rules of
verdicts. The smallest reduction that counts is {{ "%g" | format(100
* sizes.reduction) }} points, the smallest share {{ "%g" | format(100 * sizes.share) }} %. A claimed
size, such as {{ "%g" | format(100 * swap) }} % of bos-swap, is confirmed by an interval that
covers it with a half-width of at most {{ "%g" | format(100 * half_width) }} points.</li>
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

{% if across %}
<section aria-labelledby="across">
<h2 id="across">Across architectures</h2>
<p>{{ about }} Log lens, median head.</p>
<table class="cards" role="table"><thead role="rowgroup"><tr role="row">
{% for head in across[0] %}
<th scope="col" role="columnheader">{{ head }}</th>{% endfor %}</tr></thead>
<tbody role="rowgroup">{% for row in across[1] %}
<tr role="row">{% for text in row %}
{% if loop.first %}<th scope="row" role="rowheader">{{ text }}</th>
{% else %}<td role="cell" data-label="{{ across[0][loop.index0] }}">{{ text }}</td>
{% endif %}{% endfor %}</tr>{% endfor %}
</tbody></table>
</section>
{% endif %}

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
<h2 id="all">All numbers</h2>
<p>Every row of <a href="claims.csv"><code>claims.csv</code></a>:</p>
<details id="claim-rows"><summary>Claims: {{ rows | length }} numbers</summary>
<div class="sheet">
<div class="wide" tabindex="0" role="region" aria-label="All numbers of the claims">
<table id="rows"><thead><tr><th scope="col" data-number>line</th>
{% for name in columns %}<th scope="col">{{ name }}</th>{% endfor %}
<th scope="col" data-number>estimate</th></tr></thead>
<tbody>{% for row in rows %}
<tr><th scope="row">{{ row.line }}</th>
{% for name in columns %}<td>{{ row[name] }}</td>{% endfor %}<td>{{ row.text }}</td></tr>
{% endfor %}</tbody></table></div></div></details>
<p>Energies of single heads are in
<a href="statistics/energies.csv"><code>statistics/energies.csv</code></a>{% if energies.held %}.
This table has those of early queries (1 to {{ settings.bins.early - 1 }}){% if energies.held <
energies.arms %}, of the first {{ energies.held }} of {{ energies.arms }} arms{% endif %}, in nats²
(log lens) or probability²
(probability lens); p is that of the sign-flip test of energy = 0, adjusted over heads{% endif %}.
</p>
{% if energies.held %}
<details id="energy-rows" class="screen scripted" hidden><summary>Energies of single heads</summary>
<div class="sheet">
<div class="wide" tabindex="0" role="region" aria-label="Energies of single heads">
<table><thead><tr><th scope="col">model</th><th scope="col">arm</th>
<th scope="col" data-number>layer</th><th scope="col" data-number>head</th>
<th scope="col">kind of layer</th><th scope="col">lens</th><th scope="col">component</th>
<th scope="col" data-number>energy [{{ level }} % interval]</th>
<th scope="col" data-number>p</th></tr></thead><tbody></tbody></table></div></div></details>
<script type="application/json" id="energy-data">{{ energies.text | safe }}</script>
{% endif %}
</section>

<section aria-labelledby="settings">
<h2 id="settings">Settings</h2>
<details class="settings"><summary>All settings of the study, defaults included</summary>
<pre>{{ yaml }}</pre></details>
</section>
</main>
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
<script>{TABLES}{HEADS}</script>
</body>
</html>
"""
