#!/usr/bin/env bash
# The steps of colab.ipynb on a plain machine: installs mecl_jax, trains, and shows where the report is.
#
#   experiments/plain.sh [--full] [--yes] [CONFIG] [--config.any.field=value ..]
#
# CONFIG is a name in configs/, by default cifar10. Without --full a tenth of its epochs are trained.
# It may also be a file or a variant, as cifar10:smoke, which is trained as it is.
# The whole recipe on a CPU is trained after a question; --yes answers it. The same command resumes.
# Installs into the active environment, else into .venv, which it makes. An installed JAX is kept.
# SOURCE=WHEEL installs a wheel instead of this checkout.
set -euo pipefail

full='' yes='' config=cifar10 flags=()
for argument in "$@"; do
  case $argument in
    --full) full=1 ;;
    --yes) yes=1 ;;
    -*) flags+=("$argument") ;;
    *) config=$argument ;;
  esac
done
source=${SOURCE:-$(cd "$(dirname "$0")/.." && pwd)}

python=python
if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
  python=.venv/bin/python
  if [ ! -x "$python" ]; then
    with_jax=$(python3 -c 'import jax' 2> /dev/null && echo --system-site-packages || true)
    python3 -m venv $with_jax .venv
  fi
fi
extra=''
if ! "$python" -c 'import jax' 2> /dev/null && command -v nvidia-smi > /dev/null; then
  extra='[cuda12]'  # also for drivers of CUDA 13
fi
kept=$(mktemp)
trap 'rm -f "$kept"' EXIT
"$python" -m pip list --format=freeze | { grep -E '^(jax|libtpu|flax|numpy)' || true; } > "$kept"
"$python" -m pip install --quiet --disable-pip-version-check --constraint="$kept" "$source$extra"

platform=$("$python" -c 'import jax; print(jax.devices()[0].platform)')
"$python" -c 'import jax; print("JAX", jax.__version__, "on", jax.devices())'
if [ "$platform" = cpu ] && [ -n "$full" ] && [ -z "$yes" ]; then
  read -rp 'The whole recipe takes many hours on a CPU. Train it? yes/no: ' answer || true
  if [ "$answer" != yes ]; then
    echo 'not trained; leave out --full for a tenth of the epochs'
    exit 2
  fi
fi
# A file or a variant is trained as it is.
case $config in *.py | *:*) ;; *) [ -n "$full" ] || config=$config:short ;; esac
"$python" -m mecl_jax.main --config="$config" ${flags[@]+"${flags[@]}"}
echo "open the report in a browser: runs/${config//:/-}/report/index.html"
