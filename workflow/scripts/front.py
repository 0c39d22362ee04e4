"""Write the front page of the report."""

from abspos.front import write
from abspos.job import job

with job(snakemake):
    write(
        snakemake.input.claims,
        snakemake.input.sensitivity,
        snakemake.output[0],
        snakemake.params.config,
        snakemake.input.checkpoints,
        snakemake.input.controls,
    )
