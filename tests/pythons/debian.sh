# Functions to get the newest sources and packages of Debian. To be sourced; $place is a
# directory of the caller. apt uses separate lists there, so the machine's do not change.
version=3.13 # newer versions are incomplete in Debian's pool

apt() {
    local command=$1 signed=/usr/share/keyrings/debian-archive-keyring.gpg
    shift
    if [ ! -e "$place/apt/sources.list" ]; then
        mkdir -p "$place/apt/lists/partial" "$place/apt/cache/archives/partial"
        printf "deb-src [signed-by=$signed] http://deb.debian.org/debian %s main\n" \
            sid trixie >"$place/apt/sources.list"
        echo "deb [signed-by=$signed] http://deb.debian.org/debian trixie main" \
            >>"$place/apt/sources.list"
        apt apt-get update -qq
    fi
    timeout 300 "$command" -o Dir::Etc::sourcelist="$place/apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$place/apt/lists" -o Dir::Cache="$place/apt/cache" \
        -o APT::Sandbox::User=root "$@"
}

# Unpack the newest source of a package into a directory. The lists may name versions that
# the pool does not have yet.
unpack_source() {
    local name=$1 folder=$2 newest
    rm -rf "$folder"
    mkdir -p "$folder/archive"
    for newest in $(apt apt-cache showsrc --only-source "$name" | sed -n 's/^Version: //p' | sort -Vru); do
        if (cd "$folder/archive" && apt apt-get source -qq --download-only --tar-only "$name=$newest" 2>/dev/null); then
            tar -xf "$folder"/archive/*.orig.tar.?z --strip-components=1 -C "$folder"
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

# Build Python from $place/source, and install it in $place/python.
build_python() {
    mkdir -p "$place/source/build"
    # Joined by &&, as bash ignores errexit to the left of ||.
    (cd "$place/source/build" &&
        timeout 600 ../configure -q --prefix="$place/python" --without-doc-strings "$@" &&
        timeout 900 make -s -j"$(nproc)" &&
        timeout 300 make -s install) >"$place/log" 2>&1 || {
        tail -30 "$place/log"
        return 1
    }
    rm -rf "$place/source"
}
