# Functions to get the newest sources and packages of Debian. To be sourced; $build_dir is a
# directory of the caller. apt uses separate lists there, so the machine's do not change.
version=3.13 # newer versions are incomplete in Debian's pool

apt() {
    local command=$1 signed=/usr/share/keyrings/debian-archive-keyring.gpg
    shift
    if [ ! -e "$build_dir/apt/sources.list" ]; then
        mkdir -p "$build_dir/apt/lists/partial" "$build_dir/apt/cache/archives/partial"
        printf "deb-src [signed-by=$signed] http://deb.debian.org/debian %s main\n" \
            sid trixie >"$build_dir/apt/sources.list"
        echo "deb [signed-by=$signed] http://deb.debian.org/debian trixie main" \
            >>"$build_dir/apt/sources.list"
        apt apt-get update -qq
    fi
    timeout 300 "$command" -o Dir::Etc::sourcelist="$build_dir/apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$build_dir/apt/lists" -o Dir::Cache="$build_dir/apt/cache" \
        -o APT::Sandbox::User=root "$@"
}

# Unpack the newest source of a package into a directory. The lists may name versions that
# the pool does not have yet.
unpack_source() {
    local name=$1 directory=$2 newest
    rm -rf "$directory"
    mkdir -p "$directory/archive"
    for newest in $(apt apt-cache showsrc --only-source "$name" | sed -n 's/^Version: //p' | sort -Vru); do
        if (cd "$directory/archive" && apt apt-get source -qq --download-only --tar-only "$name=$newest" 2>/dev/null); then
            tar -xf "$directory"/archive/*.orig.tar.?z --strip-components=1 -C "$directory"
            echo "$name $newest"
            return
        fi
    done
    echo "Debian's pool has no source of $name" >&2
    return 1
}

# Install those of these packages that are not installed.
install_missing() {
    local package missing=()
    for package in "$@"; do
        dpkg --status "$package" 2>/dev/null | grep '^Status: .* installed$' >/dev/null || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] || {
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${missing[@]}"
    }
}

# Build Python from $build_dir/source, and install it in $build_dir/python.
build_python() {
    mkdir -p "$build_dir/source/build"
    # Joined by &&, as bash ignores errexit to the left of ||.
    (cd "$build_dir/source/build" &&
        timeout 600 ../configure -q --prefix="$build_dir/python" --without-doc-strings "$@" &&
        timeout 900 make -s -j"$(nproc)" &&
        timeout 300 make -s install) >"$build_dir/log" 2>&1 || {
        tail -30 "$build_dir/log"
        return 1
    }
    rm -rf "$build_dir/source"
}
