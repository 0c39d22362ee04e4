# What a reader opens first: one self-contained page with the claims and the figures.


rule page:
    input:
        tables=[
            rules.claims.output.claims,
            rules.claims.output.swaps,
            rules.claims.output.effects,
            rules.checkpoints.output[0],
            rules.sensitivity.output.table,
            *(rules.architectures.output if ALIKE["groups"] else []),
            *(
                result(f"statistics/{table}.csv")
                for table in ("controls", "balance", "factorial", "energies", "sinks")
            ),
        ],
        figures=[f"{RESULTS}/figures/{figure}.{SHOWN}" for figure in LAYOUT.figures()],
        stores=ancient(LAYOUT.figure_stores("attention_rows")),
        manifests=LAYOUT.figure_stores("attention_rows", ".manifest.json"),
        replicates=ancient(per_model(rules.statistics.output.store)),
        replicates_manifests=per_model(rules.statistics.output.manifest),
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
