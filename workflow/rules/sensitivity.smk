# Every verdict under other choices: those that the stores allow, and finished studies that made one.


rule choices:
    input:
        stores=ancient(arms_of(".zarr")),
        manifests=arms_of(".manifest.json"),
        replicates=ancient(rules.statistics.output.store),
        replicates_manifest=rules.statistics.output.manifest,
        inputs=ancient(rules.inputs.output.store),
        inputs_manifest=rules.inputs.output.manifest,
    output:
        table=result("statistics/{model}/{revision}/choices.csv"),
    log:
        result("logs/choices/{model}/{revision}.log"),
    conda:
        environment("statistics")
    threads: STUDY.threads
    resources:
        **asks("statistics"),
    params:
        *code("choices.py"),
        config=slice_of(LAYOUT.choices, "model"),
    script:
        "../scripts/choices.py"


rule sensitivity:
    input:
        claims=rules.claims.output.claims,
        choices=per_model(result("statistics/{model}/{revision}/choices.csv")),
        others=other_studies(STUDY.study),
    output:
        table=result("statistics/sensitivity.csv"),
    log:
        result("logs/sensitivity.log"),
    localrule: True
    conda:
        environment("tables")
    params:
        *code("sensitivity.py"),
        config={"study": STUDY.study},
    script:
        "../scripts/sensitivity.py"
