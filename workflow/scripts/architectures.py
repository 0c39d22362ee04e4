"""Judge claims across architectures, on models that were trained alike."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.claims.architectures import judge

    judge(
        snakemake.input.stores,
        snakemake.input.manifests,
        snakemake.output[0],
        **snakemake.params.config,
    )
