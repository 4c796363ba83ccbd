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
build_dir=$PWD/build/pythons/freethreaded-$purpose
configuration=(--disable-gil)
needs=(gcc make xz-utils pkg-config libffi-dev libssl-dev zlib1g-dev)
if [ "$purpose" = races ]; then
    configuration+=(--with-thread-sanitizer --disable-test-modules) # those would take minutes
    needs+=(clang)
    export CC=clang CXX=clang++ TSAN_OPTIONS=report_bugs=0
fi
source tests/pythons/debian.sh

python=$build_dir/python/bin/python${version}t
if [ ! -e "$build_dir/made" ]; then
    install_missing "${needs[@]}"
    unpack_source "python$version" "$build_dir/source"
    cp -r "$build_dir/source/Tools/tsan" "$build_dir"
    build_python "${configuration[@]}"
    touch "$build_dir/made"
fi

# The environment that builds the wheel. cffi rejects free-threaded Pythons of this version.
pip=("$build_dir/venv/bin/python" -m pip --quiet --disable-pip-version-check)
if [ ! -e "$build_dir/cffi/made" ]; then
    rm -rf "$build_dir/venv" "$build_dir/cffi"
    "$python" -m venv "$build_dir/venv"
    mkdir -p "$build_dir/cffi"
    "${pip[@]}" install 'setuptools>=77' build pycparser
    if ! "${pip[@]}" wheel --no-build-isolation --no-deps --wheel-dir "$build_dir/cffi" 'cffi>=2.0' >"$build_dir/log" 2>&1; then
        grep -m1 'does not support the free-threaded build' "$build_dir/log" || {
            cat "$build_dir/log"
            exit 1
        }
        # Download with another Python: pip runs setup.py, which rejects this one.
        "$any_python" -m pip --quiet --disable-pip-version-check download --no-deps --no-binary cffi --dest "$build_dir/cffi" 'cffi>=2.0'
        mkdir "$build_dir/cffi/source"
        tar -xf "$build_dir"/cffi/cffi-*.tar.gz --strip-components=1 -C "$build_dir/cffi/source"
        sed -i 's/^if FREE_THREADED_BUILD and sys.version_info < (3, 14):/if False:/' "$build_dir/cffi/source/setup.py"
        "${pip[@]}" wheel --no-build-isolation --no-deps --wheel-dir "$build_dir/cffi" "$build_dir/cffi/source"
        touch "$build_dir/cffi/patched"
    fi
    "${pip[@]}" install --no-deps "$build_dir"/cffi/*.whl
    touch "$build_dir/cffi/made"
fi
if [ -e "$build_dir/cffi/patched" ]; then
    echo "using a copy of cffi that does not reject free-threaded Python $version;" \
        "free-threaded 3.14 and 3.15 are not tested"
fi

rm -rf "$build_dir/dist"
"$build_dir/venv/bin/python" -m build --no-isolation --outdir "$build_dir/dist" >"$build_dir/log" 2>&1 || {
    tail -30 "$build_dir/log"
    exit 1
}
if [ "$purpose" = races ]; then
    reports=$build_dir/reports
    rm -rf "$reports"
    mkdir -m 1777 "$reports"
    # CPython's suppressions, and one for a race in cffi on reading a struct field.
    { cat "$build_dir/tsan/suppressions_free_threading.txt"; echo race_top:read_raw_unsigned_data; } \
        >"$build_dir/suppressions"
    export TSAN_OPTIONS="suppressions=$build_dir/suppressions log_path=$reports/tsan exitcode=0"
    set -- tests/test_threads.py tests/live/test_parallel.py tests/live/test_readers.py "$@"
fi
PIP_FIND_LINKS="$build_dir/cffi ${PIP_FIND_LINKS-}" timeout 1200 "$any_python" \
    tests/packages/try_wheel.py "$build_dir"/dist/*.whl "$python" -- "$@"
if [ "$purpose" = races ] && [ -n "$(ls -A "$reports")" ]; then
    cat "$reports"/*
    echo "ThreadSanitizer errors; the reports are in $reports" >&2
    exit 1
fi
