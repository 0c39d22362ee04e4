# Where does absolute position come from in decoder-only transformers?
#
# One stage is one file of workflow/rules, one script a rule, one room of src/abspos:
#
#   results/checkpoints/{model}/{revision}                                        models
#   results/<study>/inputs/{model}/{revision}.zarr                                inputs
#   results/<study>/activations/{model}/{revision}/{variant}/{condition}.zarr     activations
#   results/<study>/components/{model}/{revision}/{variant}/{condition}.zarr      components
#   results/<study>/statistics/{model}/{revision}/{energies,sinks,...}.csv        statistics
#   results/<study>/statistics/{energies,sinks,...}.csv, claims.csv               statistics
#   results/<study>/statistics/sensitivity.csv                                    sensitivity
#   results/<study>/figures/{figure}.{pdf,svg}                                    figures
#   results/<study>/calibration/calibration.{csv,pdf,svg}      (on request)       calibration
#   results/<study>/calibration/{truth,numbers}.csv    (of synthetic models)      calibration
#   results/<study>/front.rst                                                     audit
#   results/<study>/index.html                                                    report
#
# Beside every store lies its manifest; jobs log to results/<study>/logs, and
# results/<study>/ledger says how every file was made.

from snakemake.utils import min_version

min_version("9.25")


configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/activations.smk"
include: "workflow/rules/components.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/sensitivity.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/calibration.smk"
include: "workflow/rules/audit.smk"
include: "workflow/rules/report.smk"


report: "workflow/report/workflow.rst"


localrules:
    all,
    calibration,


rule all:
    default_target: True
    # All that is not temporary: what a failed job took with it, or a user removed, is made again.
    input:
        hub_corpus(),
        per_model(*rules.models.output, *rules.inputs.output),
        per_run(rules.activations.output.manifest, *rules.components.output),
        kept_activations(),
        per_model(*rules.statistics.output, rules.choices.output.table),
        rules.tables.output,
        rules.claims.output,
        rules.sensitivity.output,
        rules.checkpoints.output,
        known_truth(),
        collect(
            f"{RESULTS}/figures/{{figure}}.{{format}}",
            figure=LAYOUT.figures(),
            format=STUDY.figures.formats,
        ),
        rules.front.output,
        rules.page.output,
