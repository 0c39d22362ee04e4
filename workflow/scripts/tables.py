"""Join each table over all models."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.statistics.aggregate import join

    join(snakemake.input, snakemake.output)
