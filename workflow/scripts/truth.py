"""Put estimates, intervals and claims beside the truth of synthetic models."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.calibration.truth import write_truth

    write_truth(
        snakemake.input.populations,
        snakemake.input.energies,
        snakemake.input.layers,
        snakemake.input.summary,
        snakemake.input.claims,
        snakemake.input.stores,
        snakemake.input.manifests,
        snakemake.output.table,
        snakemake.output.numbers,
        **snakemake.params.config,
    )
