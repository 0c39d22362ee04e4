# Aggregation across inputs: tables of each model, the same of all models, and the claims.


rule statistics:
    input:
        stores=ancient(arms_of(".zarr")),
        manifests=arms_of(".manifest.json"),
    output:
        collect(RESULTS + "/statistics/{{model}}/{{revision}}/{table}.csv", table=TABLES),
        store=directory(RESULTS + "/statistics/{model}/{revision}/slots.zarr"),
        manifest=RESULTS + "/statistics/{model}/{revision}/slots.manifest.json",
    log:
        RESULTS + "/logs/statistics/{model}/{revision}.log",
    conda:
        environment("statistics")
    threads: STUDY.threads
    resources:
        **asks("statistics"),
    params:
        *code("statistics.py"),
        config=slice_of(LAYOUT.tabulation, "model"),
    script:
        "../scripts/statistics.py"


rule tables:
    input:
        collect(
            per_model(RESULTS + "/statistics/{model}/{revision}/{{table}}.csv"),
            table=TABLES,
        ),
    output:
        collect(RESULTS + "/statistics/{table}.csv", table=TABLES),
    log:
        RESULTS + "/logs/statistics/tables.log",
    localrule: True
    conda:
        environment("tables")
    params:
        *code("tables.py"),
        config={},
    script:
        "../scripts/tables.py"


rule claims:
    input:
        stores=ancient(per_model(RESULTS + "/statistics/{model}/{revision}/slots.zarr")),
        manifests=per_model(RESULTS + "/statistics/{model}/{revision}/slots.manifest.json"),
        inputs=ancient(per_model(RESULTS + "/inputs/{model}/{revision}.zarr")),
        inputs_manifests=per_model(RESULTS + "/inputs/{model}/{revision}.manifest.json"),
    output:
        claims=report(
            RESULTS + "/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"what": "claims as a table (CSV)"},
        ),
        swaps=RESULTS + "/statistics/swaps.csv",
    log:
        RESULTS + "/logs/claims.log",
    localrule: True
    conda:
        environment("claims")
    params:
        *code("claims.py"),
        config=LAYOUT.judgement(),
    script:
        "../scripts/claims.py"
