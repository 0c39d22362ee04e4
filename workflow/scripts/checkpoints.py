"""Tabulate what the study names: commits, training tokens, gaps."""

from abspos.checkpoints import write
from abspos.job import job

with job(snakemake):
    write(snakemake.params.config["rows"], snakemake.output[0])
