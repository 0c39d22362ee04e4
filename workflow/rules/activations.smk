# One forward pass over all inputs for each model, variant and condition.


rule activations:
    input:
        checkpoint=ancient(rules.models.output.folder),
        checkpoint_manifest=rules.models.output.manifest,
        inputs=ancient(rules.inputs.output.store),
        inputs_manifest=rules.inputs.output.manifest,
        reference=ancient(heads_from(".zarr")),
        reference_manifest=heads_from(".manifest.json"),
    output:
        store=kept_or_temporary(LAYOUT.store("activations") + ".zarr"),
        manifest=LAYOUT.store("activations") + ".manifest.json",
    log:
        result("logs/activations/{model}/{revision}/{variant}/{condition}.log"),
    wildcard_constraints:
        model=one_of(LAYOUT.computed()),
        condition="(?!(bos|shift)[.])[^/]+",
    conda:
        environment("activations")
    threads: STUDY.threads
    resources:
        **asks("activations"),
    params:
        *code("activations.py"),
        config=slice_of(LAYOUT.extraction, "model", "variant", "condition"),
        device=STUDY.device,
    script:
        "../scripts/activations.py"


# What other runs are compared with goes first, so that their temporary stores need not wait for it;
# and what is paired with its activations, so that they need not wait either.
use rule activations as activations_bos with:
    wildcard_constraints:
        model=one_of(LAYOUT.computed()),
        condition="bos|shift",
    priority: 5
