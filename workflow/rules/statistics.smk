# Aggregation across inputs: tables of each model, the same of all models, and the claims.


rule statistics:
    input:
        stores=ancient(arms_of(".zarr")),
        manifests=arms_of(".manifest.json"),
    output:
        collect(result("statistics/{{model}}/{{revision}}/{table}.csv"), table=TABLES),
        store=directory(result("statistics/{model}/{revision}/replicates.zarr")),
        manifest=result("statistics/{model}/{revision}/replicates.manifest.json"),
    log:
        result("logs/statistics/{model}/{revision}.log"),
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
            per_model(result("statistics/{model}/{revision}/{{table}}.csv")),
            table=TABLES,
        ),
    output:
        collect(result("statistics/{table}.csv"), table=TABLES),
    log:
        result("logs/statistics/tables.log"),
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
        stores=ancient(per_model(result("statistics/{model}/{revision}/replicates.zarr"))),
        manifests=per_model(result("statistics/{model}/{revision}/replicates.manifest.json")),
        choices=per_model(result("statistics/{model}/{revision}/choices.csv")),
    output:
        claims=report(
            result("claims.csv"),
            caption="../report/claims.rst",
            category=MENU["claims_forest"][0],
            labels={"figure": f"{MENU['claims_forest'][0][0]} Table of all claims (CSV)"},
        ),
        swaps=result("statistics/swaps.csv"),
        changes=result("statistics/changes.csv"),
        effects=result("statistics/controlled_effects.csv"),
    log:
        result("logs/claims.log"),
    localrule: True
    conda:
        environment("claims")
    params:
        *code("claims.py"),
        config=LAYOUT.judgement(),
    script:
        "../scripts/claims.py"


# The same claims on models that were trained alike, each under an architecture.
rule architectures:
    input:
        stores=ancient(per_alike(rules.statistics.output.store)),
        manifests=per_alike(rules.statistics.output.manifest),
    output:
        result("statistics/architectures.csv"),
    log:
        result("logs/statistics/architectures.log"),
    localrule: True
    conda:
        environment("claims")
    params:
        *code("architectures.py"),
        config=ALIKE,
    script:
        "../scripts/architectures.py"
