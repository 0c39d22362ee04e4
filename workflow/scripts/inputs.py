"""Draw the windows of text of one model."""

from abspos.inputs import prepare
from abspos.job import job

with job(snakemake):
    prepare(
        snakemake.params.corpus,
        snakemake.input.checkpoint,
        snakemake.output.store,
        snakemake.output.manifest,
        **snakemake.params.config,
        checkpoint_manifest=snakemake.input.checkpoint_manifest,
    )
