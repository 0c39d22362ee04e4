# Getting each checkpoint once, into a plain folder that all studies share.


rule models:
    output:
        folder=directory(checkpoint_path("{model}/{revision}")),
        manifest=checkpoint_path("{model}/{revision}.manifest.json"),
    log:
        checkpoint_path("logs/{model}/{revision}.log"),
    wildcard_constraints:
        model=one_of(trained(here=False)),
    localrule: STUDY.slurm_download == "local"
    conda:
        environment("models")
    resources:
        **asks("models"),
    params:
        *code("models.py"),
        config=slice_of(LAYOUT.source, "model", "revision"),
    script:
        "../scripts/models.py"


# All that the study names: commits, training tokens, and gaps with their reasons.
rule checkpoints:
    output:
        result("statistics/checkpoints.csv"),
    log:
        result("logs/checkpoints.log"),
    localrule: True
    conda:
        environment("checkpoints")
    params:
        *code("checkpoints.py"),
        config={"rows": LAYOUT.checkpoints()},
    script:
        "../scripts/checkpoints.py"
