"""Make all tables of one model and revision."""

from abspos.job import job
from abspos.tables import tabulate

with job(snakemake):
    tabulate(
        snakemake.input.stores,
        snakemake.input.manifests,
        snakemake.output.store,
        snakemake.output.manifest,
        model=snakemake.wildcards.model,
        revision=snakemake.wildcards.revision,
        **snakemake.params.config,
        threads=snakemake.threads,
    )
