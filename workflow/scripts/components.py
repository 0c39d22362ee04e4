"""Decompose one run."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.components.store import Decomposition, decompose_run
        from abspos.stores import Stored

    decompose_run(
        Stored(snakemake.input.activations, snakemake.input.activations_manifest),
        Stored(snakemake.input.inputs, snakemake.input.inputs_manifest),
        Stored(*snakemake.output),
        Decomposition(**snakemake.params.config),
        device=snakemake.params.device,
        threads=snakemake.threads,
        label="/".join(snakemake.wildcards),
        reference=next(
            map(Stored, snakemake.input.reference, snakemake.input.reference_manifest), None
        ),
        partner=next(map(Stored, snakemake.input.partner, snakemake.input.partner_manifest), None),
    )
