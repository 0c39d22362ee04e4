"""Draw the windows of text of one model."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.inputs.windows import prepare

    prepare(
        snakemake.params.corpus,
        snakemake.input.checkpoint,
        snakemake.output.store,
        snakemake.output.manifest,
        **snakemake.params.config,
        checkpoint_manifest=snakemake.input.checkpoint_manifest,
        swap_tokens=snakemake.params.swap_tokens,
    )
