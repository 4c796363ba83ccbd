#!/bin/bash
# Find reference leaks with a debug build of Python, and a C module built for it, in a
# copy of the tree with a separate environment.
#
#   run.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/../.."

python=$1
build_dir=$PWD/build/refleaks
tree=$build_dir/tree

if ! command -v "$python" >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "$python not found: this requires a debug build of Python 3.11 or newer; on" \
            'Debian, install python3-dbg' >&2
        exit 1
    fi
    apt-get update -qq
    apt-get install -qq --no-install-recommends python3-dbg python3-venv libffi-dev
fi

rm -rf "$tree"
mkdir -p "$tree"
tar --exclude=./build --exclude=./.venv --exclude='*.so' -cf - . | tar -xf - -C "$tree"
[ -e "$build_dir/venv/bin/python" ] || "$python" -m venv "$build_dir/venv"
# cffi must be built for the debug Python, too: its wheels are release builds.
pip=("$build_dir/venv/bin/python" -m pip --quiet --disable-pip-version-check)
"${pip[@]}" install --upgrade pip
"${pip[@]}" install --no-binary cffi --editable "$tree"
cd "$tree"
PYTHONPATH=tests timeout 300 "$build_dir/venv/bin/python" -P tests/refleaks/refleaks.py
