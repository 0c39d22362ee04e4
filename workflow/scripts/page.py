"""Write the page of a study."""

from pathlib import Path

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.report.page import write

    write(
        {Path(table).stem: table for table in snakemake.input.tables},
        snakemake.input.figures,
        snakemake.output[0],
        snakemake.params.config,
    )
