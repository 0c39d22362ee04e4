# Getting each checkpoint once, into a plain folder that all studies share.


rule models:
    output:
        folder=directory(CHECKPOINTS + "/{model}/{revision}"),
        manifest=CHECKPOINTS + "/{model}/{revision}.manifest.json",
    params:
        config=slice_of(LAYOUT.source, "model"),
        code=code("models.py"),
    log:
        CHECKPOINTS + "/logs/{model}/{revision}.log",
    script:
        "../scripts/models.py"
