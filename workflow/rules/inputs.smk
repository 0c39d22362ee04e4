# Windows of text as token ids, the same for every arm of a model.


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
        config=LAYOUT.inputs(),
        corpus=corpus_folder,
    script:
        "../scripts/inputs.py"
