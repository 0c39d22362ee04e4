# Planted components: simulated studies (`snakemake --cores all calibration`), and the truth of
# synthetic models beside what a study says of them.


rule calibration:
    input:
        result("calibration/calibration.csv"),
        collect(result("calibration/calibration.{format}"), format=STUDY.figures.formats),


rule simulated:
    output:
        table=result("calibration/calibration.csv"),
    log:
        result("logs/calibration/simulated.log"),
    conda:
        environment("statistics")
    threads: STUDY.threads
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        *code("simulated.py"),
        config=LAYOUT.calibration(),
    script:
        "../scripts/simulated.py"


rule calibration_figure:
    input:
        tables=[rules.simulated.output.table],
        stores=[],
    output:
        collect(result("calibration/calibration.{format}"), format=STUDY.figures.formats),
    log:
        result("logs/calibration/figure.log"),
    localrule: True
    conda:
        environment("figures")
    params:
        *code("figures.py", "abspos.figures.calibration"),
        config={
            "figure": "calibration",
            "confidence": STUDY.statistics.confidence,
        },
    script:
        "../scripts/figures.py"


# The activations of a synthetic model: planted logits in a store like that of any other.
rule planted:
    input:
        checkpoint=ancient(rules.models.output.folder),
        checkpoint_manifest=rules.models.output.manifest,
        inputs=ancient(rules.inputs.output.store),
        inputs_manifest=rules.inputs.output.manifest,
    output:
        store=kept_or_temporary(LAYOUT.store("activations") + ".zarr"),
        manifest=LAYOUT.store("activations") + ".manifest.json",
    log:
        result("logs/activations/{model}/{revision}/{variant}/{condition}.log"),
    wildcard_constraints:
        model=one_of(LAYOUT.synthetic()),
    conda:
        environment("planted")
    threads: STUDY.threads
    resources:
        **asks("planted"),
    params:
        *code("planted.py"),
        config=slice_of(LAYOUT.extraction, "model", "variant", "condition"),
    script:
        "../scripts/planted.py"


# A population that no study has: of every head its true energies.
rule population:
    output:
        table=result("calibration/{model}/{revision}/population.csv"),
    log:
        result("logs/calibration/{model}/{revision}.log"),
    conda:
        environment("components")
    threads: STUDY.threads
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        *code("population.py"),
        config=slice_of(LAYOUT.population, "model"),
    script:
        "../scripts/population.py"


# Named so because `truth` is its figure.
rule comparison:
    input:
        populations=per_synthetic(result("calibration/{model}/{revision}/population.csv")),
        energies=result("statistics/energies.csv"),
        layers=result("statistics/layers.csv"),
        summary=result("statistics/summary.csv"),
        claims=rules.claims.output.claims,
        stores=ancient(per_synthetic(result("statistics/{model}/{revision}/replicates.zarr"))),
        manifests=per_synthetic(result("statistics/{model}/{revision}/replicates.manifest.json")),
    output:
        table=result("calibration/truth.csv"),
        numbers=result("calibration/numbers.csv"),
    log:
        result("logs/calibration/truth.log"),
    localrule: True
    conda:
        environment("claims")
    params:
        *code("truth.py"),
        config=LAYOUT.truth(),
    script:
        "../scripts/truth.py"
