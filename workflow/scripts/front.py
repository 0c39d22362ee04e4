"""Write the front page of the report."""

from pathlib import Path

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.report.front import write

    write(
        snakemake.input.claims,
        snakemake.input.sensitivity,
        snakemake.output[0],
        snakemake.params.config,
        snakemake.input.checkpoints,
        snakemake.input.controls,
        {Path(table).stem: table for table in snakemake.input.tables},
        snakemake.input.schematic,
    )
