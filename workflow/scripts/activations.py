"""Extract the activations of one run."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.activations.extract import extract

    extract(
        snakemake.input.checkpoint,
        snakemake.input.inputs,
        snakemake.input.inputs_manifest,
        snakemake.output.store,
        snakemake.output.manifest,
        **snakemake.params.config,
        device=snakemake.params.device,
        threads=snakemake.threads,
        label="/".join(snakemake.wildcards),
        checkpoint_manifest=snakemake.input.checkpoint_manifest,
        reference=next(iter(snakemake.input.reference), None),
        reference_manifest=next(iter(snakemake.input.reference_manifest), None),
    )
