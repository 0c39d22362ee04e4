# The front page: what the claims say, and the settings they were made with.


rule front:
    input:
        claims=rules.claims.output.claims,
        checkpoints=rules.checkpoints.output[0],
        sensitivity=rules.sensitivity.output.table,
        controls=result("statistics/controls.csv"),
        tables=[
            *(result(f"statistics/{table}.csv") for table in ("balance", "factorial")),
            rules.claims.output.swaps,
            rules.claims.output.effects,
            *(rules.architectures.output if ALIKE["groups"] else []),
        ],
        schematic=result(f"figures/schematic.{SHOWN}"),
    output:
        result("front.rst"),
    log:
        result("logs/front.log"),
    localrule: True
    conda:
        environment("front")
    params:
        *code("front.py"),
        config=STUDY.model_dump(mode="json", exclude=SLURM),
    script:
        "../scripts/front.py"
