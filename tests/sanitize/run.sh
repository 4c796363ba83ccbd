#!/bin/bash
# Run the whole test suite on a C module built with AddressSanitizer and
# UndefinedBehaviorSanitizer, in a copy of the tree with an environment of its own.
#
#   run.sh PYTHON SECONDS [PYTEST ARGUMENTS]
set -euo pipefail
cd "$(dirname "$0")/../.."

python=$1
seconds=$2
shift 2
place=$PWD/build/sanitize
tree=$place/tree

# The last flags win, over Python's own and over those in csrc/build.py.
mkdir -p "$place"
cat >"$place/cc" <<'CC'
#!/bin/sh
exec gcc "$@" -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
    -fno-omit-frame-pointer
CC
chmod +x "$place/cc"

rm -rf "$tree"
mkdir "$tree"
tar --exclude=./build --exclude=./.venv --exclude='*.so' -cf - . | tar -xf - -C "$tree"
[ -e "$place/venv/bin/python" ] || "$python" -m venv "$place/venv"
pip=("$place/venv/bin/python" -m pip --quiet --disable-pip-version-check)
"${pip[@]}" install --upgrade pip
(cd "$tree" && CC=$place/cc "${pip[@]}" install --editable . --group test)

# Reports go to files: pytest would swallow them, as tests do those of processes
# they start. The directory is open to tests that give up their privilege.
reports=$place/reports
rm -rf "$reports"
mkdir -m 1777 "$reports"
# Python itself leaks at exit, and a test reads a guard page for the signal it brings.
export ASAN_OPTIONS=detect_leaks=0:handle_segv=0:log_path=$reports/asan
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:log_path=$reports/ubsan
export PYTHONMALLOC=malloc # one block for each object, so that each can be watched
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"

# Documents and examples show the same, however the C module was built, and programs of
# others (of manuals, in test_share) have faults of their own.
status=0
cd "$tree"
timeout --signal=INT --kill-after=20 "$seconds" \
    env LD_PRELOAD="$LD_PRELOAD" "$place/venv/bin/python" -P \
    -m pytest -m "not heavy" --ignore-glob="*/test_docs_live.py" \
    --ignore-glob="*/test_examples.py" --ignore-glob="*/test_share.py" -p no:cacheprovider "$@" || status=$?
if [ -n "$(ls -A "$reports")" ]; then
    cat "$reports"/*
    echo "the sanitizers found something; their reports are in $reports" >&2
    exit 1
fi
exit "$status"
