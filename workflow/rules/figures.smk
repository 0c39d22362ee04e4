# Every figure from the tables it names, in every format of the study.

# The report shows one format of each figure; all are on disk.
SHOWN = next((f for f in ("svg", "png") if f in STUDY.figures.formats), STUDY.figures.formats[0])


for figure in LAYOUT.figures():

    rule:
        name:
            figure
        input:
            tables=LAYOUT.figure_tables(figure),
            stores=ancient(LAYOUT.figure_stores(figure)),
            manifests=LAYOUT.figure_stores(figure, ".manifest.json"),
        output:
            report(
                f"{RESULTS}/figures/{figure}.{SHOWN}",
                caption="../report/figure.rst",
                category=MENU[figure][0],
                labels={"figure": MENU[figure][1]},
            ),
            collect(
                f"{RESULTS}/figures/{figure}.{{format}}",
                format=[f for f in STUDY.figures.formats if f != SHOWN],
            ),
        log:
            f"{RESULTS}/logs/figures/{figure}.log",
        localrule: True
        conda:
            environment("figures")
        params:
            *code("figures.py", f"abspos.figures.{figure}"),
            config={"figure": figure, "confidence": STUDY.statistics.confidence},
            caption=facts(figure).caption,
        script:
            "../scripts/figures.py"
