# Sourced by infra/up and infra/test: the project's own virtual environment, made and kept up to date.
# shellcheck shell=sh

set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
venv=$root/.venv

fail() {
    printf '%s: %s\n' "$(basename -- "$0")" "$1" >&2
    exit 1
}

say() {
    printf '%s\n' "$1" >&2
}

# is_fit PYTHON: is it there, and new enough?
is_fit() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if is_fit "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail 'no Python 3.11 or newer found (tried python3, python3.14, python3.13, python3.12, python3.11): install one'
}

make_venv() {
    python=$(find_python)
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    # Debian and Ubuntu ship Python without what `-m venv` needs.
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "Python $version lacks its venv module: install it (on Debian or Ubuntu: apt install python$version-venv)"
    say "Making .venv with Python $version"
    # --clear: a half-made one, or one of a Python that is gone, may be in the way.
    "$python" -m venv --clear "$venv" || fail "could not make $venv"
}

# is_installed EXTRA: has this pyproject.toml been installed, here? The stamp holds both, so that a moved folder or a
# changed pin is noticed.
is_installed() {
    stamp_text | cmp -s - "$venv/.installed-$1" 2>/dev/null
}

stamp_text() {
    printf '%s\n' "$root"
    cat "$root/pyproject.toml"
}

# install EXTRA: bring .venv up to date, under the lock.
install() {
    { is_fit "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; } || make_venv
    is_installed "$1" && return
    say "Installing pinned dependencies into .venv"
    # On a terminal pip shows what it does.
    [ -t 2 ] && quiet='' || quiet=--quiet
    target=$root
    [ "$1" = base ] || target="$root[$1]"
    # shellcheck disable=SC2086  # nothing, or one option
    "$venv/bin/python" -m pip install $quiet --disable-pip-version-check --editable "$target" >&2 ||
        fail "could not install the dependencies of pyproject.toml: see pip's message above"
    stamp_text >"$venv/.installed-$1"
    # Every extra holds the base.
    stamp_text >"$venv/.installed-base"
    say "Installed: .venv takes $(du -sh "$venv" | cut -f1)"
}

# need EXTRA: make sure that .venv holds what pyproject.toml pins. EXTRA is `base` or an extra's name.
need() {
    if is_fit "$venv/bin/python" && is_installed "$1"; then
        return
    fi
    # Two at once (up and test, or two up) must not write one .venv. pyproject.toml serves as the lock: it is there.
    (
        if command -v flock >/dev/null 2>&1 && ! flock -n 9; then
            say 'Waiting for another infra/up or infra/test, which installs into .venv'
            flock 9
        fi
        install "$1"
    ) 9<"$root/pyproject.toml"
}
