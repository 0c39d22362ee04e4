"""Tabulate what the study names: commits, training tokens, gaps."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.report.checkpoints import write

    write(snakemake.params.config["rows"], snakemake.output[0])
