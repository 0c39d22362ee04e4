# Windows of text as token ids, the same for every arm of a model.


# Only for a study whose corpus is a data set of the hub.
rule corpus:
    output:
        folder=directory(result("corpus")),
        manifest=result("corpus.manifest.json"),
    log:
        result("logs/corpus.log"),
    localrule: STUDY.slurm_download == "local"
    conda:
        environment("corpus")
    params:
        *code("corpus.py"),
        config=LAYOUT.dataset(),
    script:
        "../scripts/corpus.py"


rule inputs:
    input:
        corpus=LAYOUT.corpus(),
        checkpoint=ancient(rules.models.output.folder),
        checkpoint_manifest=rules.models.output.manifest,
    output:
        store=directory(result("inputs/{model}/{revision}.zarr")),
        manifest=result("inputs/{model}/{revision}.manifest.json"),
    log:
        result("logs/inputs/{model}/{revision}.log"),
    conda:
        environment("inputs")
    resources:
        **asks("inputs"),
    params:
        *code("inputs.py"),
        *shipped_corpus(),
        config=LAYOUT.inputs(),
        corpus=corpus_folder,
        swap_tokens=swap_tokens,
    script:
        "../scripts/inputs.py"
