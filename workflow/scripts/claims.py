"""Judge the claims."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.claims.judgement import judge

    judge(
        snakemake.input.stores,
        snakemake.input.manifests,
        snakemake.output.claims,
        snakemake.output.swaps,
        snakemake.output.changes,
        snakemake.output.effects,
        **snakemake.params.config,
        choices=snakemake.input.choices,
    )
