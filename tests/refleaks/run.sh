#!/bin/bash
# Count references with a debug build of Python, on a C module built for it, in a copy
# of the tree with an environment of its own.
#
#   run.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/../.."

python=$1
place=$PWD/build/refleaks
tree=$place/tree

if ! command -v "$python" >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "there is no $python, a debug build of Python 3.11 or newer; on Debian it is" \
            'in the package python3-dbg' >&2
        exit 1
    fi
    apt-get update -qq
    apt-get install -qq --no-install-recommends python3-dbg python3-venv libffi-dev
fi

rm -rf "$tree"
mkdir -p "$tree"
tar --exclude=./build --exclude=./.venv --exclude='*.so' -cf - . | tar -xf - -C "$tree"
[ -e "$place/venv/bin/python" ] || "$python" -m venv "$place/venv"
# cffi too must count what it does, so its ready-made build will not do.
pip=("$place/venv/bin/python" -m pip --quiet --disable-pip-version-check)
"${pip[@]}" install --upgrade pip
"${pip[@]}" install --no-binary cffi --editable "$tree"
cd "$tree"
PYTHONPATH=tests timeout 300 "$place/venv/bin/python" -P tests/refleaks/refleaks.py
