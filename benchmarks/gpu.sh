#!/bin/sh
# One GPU, at most 8 minutes after set-up: certificates, the default study of its first model, T = 4096,
# memory, and the same numbers as the CPU's, in one table.   benchmarks/gpu.sh [cuda | cpu]
# On `cpu` it checks itself with few inputs. Its results lie in benchmarks/out/gpu.
set -e
cd "$(dirname "$0")/.."
make setup
exec .venv/bin/python -m benchmarks.gpu "${1:-cuda}"
