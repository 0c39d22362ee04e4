#!/bin/sh
# The environment of the peers: benchmarks/peers.sh [PYTHON], once; about 3 GB of disk.
set -e
folder=$(dirname "$0")
"${1:-python3}" -m venv "$folder/.peers"
"$folder/.peers/bin/python" -m pip install --disable-pip-version-check -q -r "$folder/peers.txt"
