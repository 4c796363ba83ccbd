#!/bin/bash
# Fuzz the decoder, the packet parser and the taskstats parser: build the targets with
# sanitizers, write seed inputs, and run for the given time.
#
#   run.sh PYTHON SECONDS JOBS
#
# The corpus is kept in build/fuzz for the next run.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=$(realpath --no-symlinks "$1")
seconds=$2
jobs=$3
build_dir=$PWD/build/fuzz

has_libfuzzer() {
    echo 'int LLVMFuzzerTestOneInput(void *d, unsigned long n) { return !d + !n; }' |
        clang -x c -fsanitize=fuzzer,address,undefined -o /dev/null - 2>/dev/null
}

if ! has_libfuzzer; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo 'fuzzing requires clang with libFuzzer; on Debian, install clang and' \
            'libclang-rt-14-dev' >&2
        exit 1
    fi
    apt-get update -qq
    apt-get install -qq --no-install-recommends clang "libclang-rt-$(
        apt-cache depends clang | sed -n 's/.*Depends: clang-//p')-dev"
fi

# build TARGET SEEDS.py SOURCES...
build() {
    mkdir -p "$build_dir/$1/corpus" "$build_dir/$1/findings"
    clang -std=c11 -D_GNU_SOURCE -g -O2 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror \
        -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
        -Icsrc -Itests "tests/fuzz/$1.c" "${@:3}" -o "$build_dir/$1/$1"
    PYTHONPATH=tests "$python" "tests/fuzz/$2" "$build_dir/$1/seeds"
}

# fuzz TARGET SECONDS LONGEST_INPUT
fuzz() {
    echo "$1 for $2 s with $jobs processes"
    cd "$build_dir/$1"
    rm -f fuzz-*.log
    if ! timeout $(($2 + 60)) "./$1" corpus seeds -jobs="$jobs" -workers="$jobs" \
        -max_len="$3" -max_total_time="$2" -timeout=10 -print_final_stats=1 \
        -artifact_prefix="$PWD/findings/" >all.log 2>&1; then
        grep -hA 12 -m 1 -E 'ERROR|runtime error|check failed' fuzz-*.log || tail -n 40 all.log
        echo "$1 found a failure or could not run; the output is in $PWD/all.log" >&2
        grep -h 'Test unit written to' fuzz-*.log >&2
        exit 1
    fi
    grep -H stat::number_of_executed_units fuzz-*.log
    awk '/stat::number_of_executed_units/ { sum += $2 } END { print sum " executions, no finding" }' \
        fuzz-*.log
}

build fuzz_decode seeds.py csrc/wire/{decode,trailer}.c
build fuzz_packets packets_seeds.py csrc/wire/{packets,byteorder,decode,trailer}.c
build fuzz_taskstats taskstats_seeds.py csrc/usage/{taskstats,table}.c
fuzz fuzz_decode $((seconds / 2)) 512
fuzz fuzz_packets $((seconds / 4)) 768
fuzz fuzz_taskstats $((seconds / 4)) 2048
