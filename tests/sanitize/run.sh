#!/bin/bash
# Run the test suite on a C module built with AddressSanitizer and
# UndefinedBehaviorSanitizer, in a copy of the tree with a separate environment.
#
#   run.sh PYTHON SECONDS [PYTEST ARGUMENTS]
set -euo pipefail
cd "$(dirname "$0")/../.."

python=$1
seconds=$2
shift 2
build_dir=$PWD/build/sanitize
tree=$build_dir/tree

# The last flags take precedence over those of Python and of csrc/build.py.
mkdir -p "$build_dir"
cat >"$build_dir/cc" <<'CC'
#!/bin/sh
exec gcc "$@" -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
    -fno-omit-frame-pointer
CC
chmod +x "$build_dir/cc"

rm -rf "$tree"
mkdir "$tree"
tar --exclude=./build --exclude=./.venv --exclude='*.so' -cf - . | tar -xf - -C "$tree"
[ -e "$build_dir/venv/bin/python" ] || "$python" -m venv "$build_dir/venv"
pip=("$build_dir/venv/bin/python" -m pip --quiet --disable-pip-version-check)
"${pip[@]}" install --upgrade pip
(cd "$tree" && CC=$build_dir/cc "${pip[@]}" install --editable . --group test)

# Reports go to files, as pytest and the tests capture stderr. The directory is writable
# for tests that drop their privileges.
reports=$build_dir/reports
rm -rf "$reports"
mkdir -m 1777 "$reports"
# Python itself leaks at exit, and a test expects SIGSEGV when it reads a guard page.
export ASAN_OPTIONS=detect_leaks=0:handle_segv=0:log_path=$reports/asan
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:log_path=$reports/ubsan
export PYTHONMALLOC=malloc # lets ASan check each object
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"

# Documents and examples do not depend on the build of the C module, and the manual page
# tools of test_share have errors that the sanitizers report.
status=0
cd "$tree"
timeout --signal=INT --kill-after=20 "$seconds" \
    env LD_PRELOAD="$LD_PRELOAD" "$build_dir/venv/bin/python" -P \
    -m pytest -m "not heavy" --ignore-glob="*/test_docs_live.py" \
    --ignore-glob="*/test_examples.py" --ignore-glob="*/test_share.py" -p no:cacheprovider "$@" || status=$?
if [ -n "$(ls -A "$reports")" ]; then
    cat "$reports"/*
    echo "sanitizer errors; the reports are in $reports" >&2
    exit 1
fi
exit "$status"
