# The decomposition of each run, as Gram matrices and mean fields.


rule components:
    input:
        activations=ancient(LAYOUT.store("activations") + ".zarr"),
        activations_manifest=LAYOUT.store("activations") + ".manifest.json",
        inputs=ancient(rules.inputs.output.store),
        inputs_manifest=rules.inputs.output.manifest,
        reference=ancient(reference_of(".zarr")),
        reference_manifest=reference_of(".manifest.json"),
        partner=ancient(partner_of(".zarr")),
        partner_manifest=partner_of(".manifest.json"),
    output:
        store=directory(LAYOUT.store("components") + ".zarr"),
        manifest=LAYOUT.store("components") + ".manifest.json",
    log:
        result("logs/components/{model}/{revision}/{variant}/{condition}.log"),
    # Ahead of further extractions, so that few temporary stores lie on disk at a time.
    priority: 10
    conda:
        environment("components")
    threads: STUDY.threads
    resources:
        **asks("components"),
    params:
        *code("components.py"),
        config=slice_of(LAYOUT.decomposition, "model", "variant", "condition"),
        device=STUDY.device,
    script:
        "../scripts/components.py"
