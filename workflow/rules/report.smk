# What a reader opens first: one self-contained page with the claims and the figures.


rule page:
    input:
        tables=[
            rules.claims.output.claims,
            rules.claims.output.swaps,
            rules.checkpoints.output[0],
            rules.sensitivity.output.table,
            result("statistics/controls.csv"),
            result("statistics/balance.csv"),
        ],
        figures=[f"{RESULTS}/figures/{figure}.{SHOWN}" for figure in LAYOUT.figures()],
    output:
        result("index.html"),
    log:
        result("logs/page.log"),
    localrule: True
    conda:
        environment("page")
    params:
        *code("page.py", *(f"abspos.figures.{figure}" for figure in LAYOUT.figures())),
        config=STUDY.model_dump(mode="json", exclude=SLURM),
    script:
        "../scripts/page.py"
