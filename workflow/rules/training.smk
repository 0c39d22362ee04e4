# Checkpoints that are trained here: one job for each step that is measured, each from the state that
# the one before it left (abspos.training.state).


rule trained:
    input:
        corpus=LAYOUT.corpus(),
        start=ancient(start_of("")),
        start_manifest=start_of(".manifest.json"),
        # For the order of the jobs: the checkpoint before is not read. It is not ancient, since behind
        # a job that is due Snakemake does not see changes of parameters through ancient files.
        earlier=earlier_of(".manifest.json"),
    output:
        folder=directory(checkpoint_path("{model}/{revision}")),
        manifest=checkpoint_path("{model}/{revision}.manifest.json"),
    log:
        checkpoint_path("logs/{model}/{revision}.log"),
    wildcard_constraints:
        model=one_of(trained()),
    # Ahead of what reads its checkpoints: training is one long chain, the others are many.
    priority: 20
    conda:
        environment("trained")
    threads: STUDY.threads
    resources:
        **asks("trained"),
    params:
        *code("trained.py"),
        *shipped_corpus(),
        config=slice_of(LAYOUT.source, "model", "revision"),
        corpus=corpus_folder,
        device=STUDY.device,
        code=code("trained.py"),
    script:
        "../scripts/trained.py"


# Losses of the training texts and of held-out ones, of all models.
rule curves:
    input:
        folders=ancient(per_trained(rules.trained.output.folder)),
        manifests=per_trained(rules.trained.output.manifest),
    output:
        result("statistics/training.csv"),
    log:
        result("logs/statistics/training.log"),
    localrule: True
    conda:
        environment("tables")
    params:
        *code("curves.py"),
        config={"models": list(LAYOUT.courses)},
    script:
        "../scripts/curves.py"
