# Simulated studies with planted components: `snakemake --cores all calibration`.


rule calibration:
    input:
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
        tables=rules.simulated.output.table,
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
