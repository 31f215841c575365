#!/usr/bin/env bash
# Prints the figures of Lotse beside those of its peers, all measured now, on this machine. Needs root.
#   benches/run.sh DIRECTORY-OF-BINARIES [SCENARIO...]     scenarios: size render boot store pods students delivery
set -euo pipefail
cd "$(dirname "$0")/.."
binaries=$(realpath "${1:?usage: benches/run.sh DIRECTORY-OF-BINARIES [SCENARIO...]}")
shift
exec "$binaries/lotse-bench" "$binaries" "$@"
