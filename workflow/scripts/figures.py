"""Draw one figure."""

from pathlib import Path

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.figures.save import save

    save(
        snakemake.params.config["figure"],
        {Path(table).stem: table for table in snakemake.input.tables},
        {"/".join(Path(s).with_suffix("").parts[-4:]): s for s in snakemake.input.stores},
        snakemake.output,
        confidence=snakemake.params.config["confidence"],
    )
