"""Join the loss curves of all models that the study trains."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.training.curves import join

    join(
        snakemake.input.folders,
        snakemake.input.manifests,
        snakemake.params.config["models"],
        snakemake.output[0],
    )
