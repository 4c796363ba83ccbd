#!/bin/bash
# Test on a free-threaded CPython, built from Debian's source.
#
#   freethreaded.sh suite PYTHON [PYTEST ARGUMENTS]
#   setarch --addr-no-randomize freethreaded.sh races PYTHON [PYTEST ARGUMENTS]
#
# `races` runs only the tests that read with several threads, with Python, cffi and the C
# module built with ThreadSanitizer, whose shadow memory conflicts with the address
# randomization of Linux. PYTHON, of any version, downloads the source of cffi. Installing
# missing build tools requires root. The Pythons and cffi are kept in build/pythons.
set -euo pipefail
cd "$(dirname "$0")/../.."
purpose=$1
any_python=$2
shift 2
place=$PWD/build/pythons/freethreaded-$purpose
configuration=(--disable-gil --disable-test-modules)
needs=(gcc make xz-utils pkg-config libffi-dev libssl-dev zlib1g-dev)
if [ "$purpose" = races ]; then
    configuration+=(--with-thread-sanitizer)
    needs+=(clang)
    export CC=clang CXX=clang++ TSAN_OPTIONS=report_bugs=0
fi
source tests/pythons/debian.sh

python=$place/python/bin/python${version}t
if [ ! -e "$place/made" ]; then
    install_missing "${needs[@]}"
    unpack_source "python$version" "$place/source"
    cp -r "$place/source/Tools/tsan" "$place"
    build_python "${configuration[@]}"
    touch "$place/made"
fi

# The environment that builds the wheel. cffi rejects free-threaded Pythons of this version.
pip=("$place/venv/bin/python" -m pip --quiet --disable-pip-version-check)
if [ ! -e "$place/cffi/made" ]; then
    rm -rf "$place/venv" "$place/cffi"
    "$python" -m venv "$place/venv"
    mkdir -p "$place/cffi"
    "${pip[@]}" install 'setuptools>=77' build pycparser
    if ! "${pip[@]}" wheel --no-build-isolation --no-deps --wheel-dir "$place/cffi" 'cffi>=2.0' >"$place/log" 2>&1; then
        grep -m1 'does not support the free-threaded build' "$place/log" || {
            cat "$place/log"
            exit 1
        }
        # Download with another Python: pip runs setup.py, which rejects this one.
        "$any_python" -m pip --quiet --disable-pip-version-check download --no-deps --no-binary cffi --dest "$place/cffi" 'cffi>=2.0'
        mkdir "$place/cffi/source"
        tar -xf "$place"/cffi/cffi-*.tar.gz --strip-components=1 -C "$place/cffi/source"
        sed -i 's/^if FREE_THREADED_BUILD and sys.version_info < (3, 14):/if False:/' "$place/cffi/source/setup.py"
        "${pip[@]}" wheel --no-build-isolation --no-deps --wheel-dir "$place/cffi" "$place/cffi/source"
        touch "$place/cffi/patched"
    fi
    "${pip[@]}" install --no-deps "$place"/cffi/*.whl
    touch "$place/cffi/made"
fi
if [ -e "$place/cffi/patched" ]; then
    echo "using a copy of cffi that does not reject free-threaded Python $version;" \
        "free-threaded 3.14 and 3.15 are not tested"
fi

rm -rf "$place/dist"
"$place/venv/bin/python" -m build --no-isolation --outdir "$place/dist" >"$place/log" 2>&1 || {
    tail -30 "$place/log"
    exit 1
}
if [ "$purpose" = races ]; then
    reports=$place/reports
    rm -rf "$reports"
    mkdir -m 1777 "$reports"
    # CPython's own list, and cffi, which reads one word of a struct for an attribute.
    { cat "$place/tsan/suppressions_free_threading.txt"; echo race_top:read_raw_unsigned_data; } \
        >"$place/suppressions"
    export TSAN_OPTIONS="suppressions=$place/suppressions log_path=$reports/tsan exitcode=0"
    set -- tests/test_threads.py tests/live/test_parallel.py tests/live/test_readers.py "$@"
fi
PIP_FIND_LINKS="$place/cffi ${PIP_FIND_LINKS-}" timeout 1200 "$any_python" \
    tests/packages/try_wheel.py "$place"/dist/*.whl "$python" -- "$@"
if [ "$purpose" = races ] && [ -n "$(ls -A "$reports")" ]; then
    cat "$reports"/*
    echo "ThreadSanitizer found something; its reports are in $reports" >&2
    exit 1
fi
