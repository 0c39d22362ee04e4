"""Judge the claims of one model and revision under other choices."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.claims.choices import choose

    choose(
        snakemake.input.stores,
        snakemake.input.manifests,
        snakemake.input.replicates,
        snakemake.input.replicates_manifest,
        snakemake.input.inputs,
        snakemake.output.table,
        model=snakemake.wildcards.model,
        revision=snakemake.wildcards.revision,
        **snakemake.params.config,
        threads=snakemake.threads,
    )
