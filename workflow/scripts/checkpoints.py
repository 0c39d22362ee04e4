"""Tabulate what the study names: commits, training tokens, gaps."""

from abspos.job import job, loading

with job(snakemake):
    with loading():
        from abspos.checkpoints import write

    write(snakemake.params.config["rows"], snakemake.output[0])
