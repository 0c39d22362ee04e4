"""Put every verdict beside those under other choices."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.claims.sensitivity import collect

    collect(
        snakemake.input.claims,
        snakemake.input.choices,
        snakemake.input.others,
        snakemake.output.table,
        **snakemake.params.config,
    )
