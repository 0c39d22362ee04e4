"""Decompose one run."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.components.store import decompose_run

    decompose_run(
        snakemake.input.activations,
        snakemake.input.activations_manifest,
        snakemake.output.store,
        snakemake.output.manifest,
        inputs=snakemake.input.inputs,
        reference=next(iter(snakemake.input.reference), None),
        reference_manifest=next(iter(snakemake.input.reference_manifest), None),
        **snakemake.params.config,
        device=snakemake.params.device,
        threads=snakemake.threads,
        label="/".join(snakemake.wildcards),
    )
