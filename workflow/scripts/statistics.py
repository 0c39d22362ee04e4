"""Make all tables of one model and revision."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.statistics.aggregate import tabulate

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
