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
        {"/".join(Path(s).with_suffix("").parts[-4:]): s for s in snakemake.input.stores},
        {"/".join(Path(s).parts[-3:-1]): s for s in snakemake.input.replicates},
    )
