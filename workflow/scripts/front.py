"""Write the front page of the report."""

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
        {"balance": snakemake.input.balance, "swaps": snakemake.input.swaps},
        snakemake.input.schematic,
    )
