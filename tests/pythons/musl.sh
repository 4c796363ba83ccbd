#!/bin/bash
# Test the musl wheel on a CPython that is linked with musl, built from Debian's source.
#
#   musl.sh PYTHON [PYTEST ARGUMENTS]
#
# PYTHON builds the wheel with zig, and downloads the requirements of the tests.
# Installing missing build tools requires root. Results are kept in build/pythons/musl.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1
shift
build_dir=$PWD/build/pythons/musl
source tests/pythons/debian.sh
triple=$(uname -m)-linux-musl

# Unpack Debian's musl into $build_dir/libc, and write $build_dir/gcc, which compiles for it.
unpack_musl() {
    local deb libc=$build_dir/libc kernel=$build_dir/libc/kernel include
    rm -rf "$libc"
    mkdir -p "$libc" "$kernel"
    (cd "$libc" && apt apt-get download -qq musl musl-dev musl-tools)
    for deb in "$libc"/*.deb; do
        dpkg -x "$deb" "$libc"
    done
    include=$(dirname "$(find /usr/include -path '*/asm/unistd.h' -print -quit)")
    ln -s /usr/include/linux /usr/include/asm-generic "$include" "$kernel"
    sed -i "s, /lib/ld-musl, $libc/usr/lib/ld-musl,; s,/usr/\(lib\|include\)/$triple,$libc&,g" \
        "$libc/usr/lib/$triple/musl-gcc.specs"
    cat >"$build_dir/gcc" <<END
#!/bin/sh
[ "\$*" != --print-multiarch ] || exec echo $triple
exec gcc "\$@" -specs $libc/usr/lib/$triple/musl-gcc.specs -idirafter $kernel
END
    chmod +x "$build_dir/gcc"
}

# Build a static library from a Debian source, for the modules of Python.
build_library() {
    local name=$1
    shift
    unpack_source "$name" "$build_dir/library"
    (cd "$build_dir/library" && { [ -e configure ] || ./autogen.sh; } &&
        timeout 300 ./configure "$@" && timeout 300 make -s -j"$(nproc)" && make -s install) \
        >"$build_dir/log" 2>&1 || {
        tail -30 "$build_dir/log"
        return 1
    }
    rm -rf "$build_dir/library"
}

if [ ! -e "$build_dir/made" ]; then
    install_missing gcc make xz-utils pkg-config linux-libc-dev autoconf automake \
        libtool libltdl-dev
    mkdir -p "$build_dir"
    unpack_musl
    export CC=$build_dir/gcc CFLAGS=-fPIC CPPFLAGS="-I$build_dir/libraries/include"
    export LDFLAGS="-L$build_dir/libraries/lib" PKG_CONFIG_LIBDIR=$build_dir/libraries/lib/pkgconfig
    build_library zlib --static --prefix="$build_dir/libraries"
    build_library libffi --disable-shared --disable-docs --prefix="$build_dir/libraries" \
        --host="$triple"
    unpack_source "python$version" "$build_dir/source"
    build_python
    unset CC CFLAGS CPPFLAGS LDFLAGS PKG_CONFIG_LIBDIR
    touch "$build_dir/made"
fi

zig="$python -m ziglang cc -target $triple -dynamic -idirafter /usr/include"
rm -rf "$build_dir/wheels"
# auditwheel supports only wheels for the C library that it runs on.
printf '[bdist_wheel]\nplat_name = musllinux_1_2_%s\n' "$(uname -m)" >"$build_dir/setuptools.cfg"
CC=$zig LDSHARED="$zig -shared" DIST_EXTRA_CONFIG=$build_dir/setuptools.cfg \
    "$python" -m build --outdir "$build_dir/wheels" >"$build_dir/log" 2>&1 || {
    tail -30 "$build_dir/log"
    exit 1
}
wheel=("$build_dir"/wheels/*.whl)
# The musl Python has no TLS, so another Python downloads.
"$python" -m pip --quiet --disable-pip-version-check download --dest "$build_dir/wheels" \
    --only-binary :all: --implementation cp --python-version "$version" \
    --abi "cp${version/./}" --abi abi3 --abi none --platform "musllinux_1_2_$(uname -m)" \
    --platform "musllinux_1_1_$(uname -m)" \
    "${wheel[0]}" --group pyproject.toml:test

PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS=$build_dir/wheels timeout 1200 \
    "$python" tests/packages/try_wheel.py "${wheel[0]}" "$build_dir/python/bin/python$version" -- "$@"
