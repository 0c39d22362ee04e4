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


report: "workflow/report/workflow.rst"


localrules:
    all,
    calibration,


rule all:
    default_target: True
    input:
        f"{RESULTS}/claims.csv",
        f"{RESULTS}/front.rst",
        collect(f"{RESULTS}/statistics/{{table}}.csv", table=TABLES),
        collect(
            f"{RESULTS}/figures/{{figure}}.{{format}}",
            figure=LAYOUT.figures(),
            format=STUDY.figures.formats,
        ),
        kept_activations(),
