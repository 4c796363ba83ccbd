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
place=$PWD/build/pythons/musl
source tests/pythons/debian.sh
triple=$(uname -m)-linux-musl

# Unpack Debian's musl into $place/libc, and write $place/gcc, which compiles for it.
unpack_musl() {
    local deb libc=$place/libc kernel=$place/libc/kernel include
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
    cat >"$place/gcc" <<END
#!/bin/sh
[ "\$*" != --print-multiarch ] || exec echo $triple
exec gcc "\$@" -specs $libc/usr/lib/$triple/musl-gcc.specs -idirafter $kernel
END
    chmod +x "$place/gcc"
}

# Build a static library from a Debian source, for the modules of Python.
build_library() {
    local name=$1
    shift
    unpack_source "$name" "$place/library"
    (cd "$place/library" && { [ -e configure ] || ./autogen.sh; } &&
        timeout 300 ./configure "$@" && timeout 300 make -s -j"$(nproc)" && make -s install) \
        >"$place/log" 2>&1 || {
        tail -30 "$place/log"
        return 1
    }
    rm -rf "$place/library"
}

if [ ! -e "$place/made" ]; then
    install_missing gcc make xz-utils pkg-config linux-libc-dev autoconf automake \
        libtool libltdl-dev
    mkdir -p "$place"
    unpack_musl
    export CC=$place/gcc CFLAGS=-fPIC CPPFLAGS="-I$place/libraries/include"
    export LDFLAGS="-L$place/libraries/lib" PKG_CONFIG_LIBDIR=$place/libraries/lib/pkgconfig
    build_library zlib --static --prefix="$place/libraries"
    build_library libffi --disable-shared --disable-docs --prefix="$place/libraries" \
        --host="$triple"
    unpack_source "python$version" "$place/source"
    build_python
    unset CC CFLAGS CPPFLAGS LDFLAGS PKG_CONFIG_LIBDIR
    touch "$place/made"
fi

zig="$python -m ziglang cc -target $triple -dynamic -idirafter /usr/include"
rm -rf "$place/wheels"
# auditwheel supports only wheels for the C library that it runs on.
printf '[bdist_wheel]\nplat_name = musllinux_1_2_%s\n' "$(uname -m)" >"$place/setuptools.cfg"
CC=$zig LDSHARED="$zig -shared" DIST_EXTRA_CONFIG=$place/setuptools.cfg \
    "$python" -m build --outdir "$place/wheels" >"$place/log" 2>&1 || {
    tail -30 "$place/log"
    exit 1
}
wheel=("$place"/wheels/*.whl)
# The musl Python has no TLS, so another Python downloads.
"$python" -m pip --quiet --disable-pip-version-check download --dest "$place/wheels" \
    --only-binary :all: --implementation cp --python-version "$version" \
    --abi "cp${version/./}" --abi abi3 --abi none --platform "musllinux_1_2_$(uname -m)" \
    --platform "musllinux_1_1_$(uname -m)" \
    "${wheel[0]}" --group pyproject.toml:test

PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS=$place/wheels timeout 1200 \
    "$python" tests/packages/try_wheel.py "${wheel[0]}" "$place/python/bin/python$version" -- "$@"
