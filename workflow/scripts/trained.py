"""Train one model up to one step."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.stores import Stored
        from abspos.training.trainer import Training, train

    train(
        Stored(snakemake.input.start, snakemake.input.start_manifest),
        Stored(*snakemake.output),
        snakemake.params.corpus,
        Training(**snakemake.params.config),
        device=snakemake.params.device,
        threads=snakemake.threads,
        label="/".join(snakemake.wildcards),
        code=snakemake.params.code,
    )
