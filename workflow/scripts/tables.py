"""Join each table over all models."""

from abspos.job import job, loading

with job(snakemake):
    with loading():
        from abspos.tables import join

    join(snakemake.input, snakemake.output)
