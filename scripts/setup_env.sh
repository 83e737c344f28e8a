#!/bin/sh
# Create .venv and install the project into it, after the system libraries of Qt and the virtual display.
# Run by make. As root it installs missing system packages; otherwise it lists them.
# "setup_env.sh system" stops after the system packages.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
stop() { say "setup: $*"; exit 1; }

as_root() { [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; }

apt_install() {
    say "setup: installing system packages: $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# --- system libraries, and the Debian packages that provide them --------------------------------
libraries='
libGL.so.1            libgl1
libEGL.so.1           libegl1
libX11-xcb.so.1       libx11-xcb1
libxkbcommon-x11.so.0 libxkbcommon-x11-0
libxcb-cursor.so.0    libxcb-cursor0
libxcb-icccm.so.4     libxcb-icccm4
libxcb-image.so.0     libxcb-image0
libxcb-keysyms.so.1   libxcb-keysyms1
libxcb-randr.so.0     libxcb-randr0
libxcb-render-util.so.0 libxcb-render-util0
libxcb-shape.so.0     libxcb-shape0
libxcb-sync.so.1      libxcb-sync1
libxcb-xfixes.so.0    libxcb-xfixes0
libxcb-xkb.so.1       libxcb-xkb1
libdbus-1.so.3        libdbus-1-3
libfontconfig.so.1    libfontconfig1
libglib-2.0.so.0      libglib2.0-0
'

missing_packages() {
    known=$(PATH="$PATH:/usr/sbin:/sbin" ldconfig -p)
    echo "$libraries" | while read -r library package; do
        case "$library" in '') continue ;; esac
        case "$known" in *"$library "*) ;; *) echo "$package" ;; esac
    done
    command -v Xvfb >/dev/null || echo xvfb
}

if [ "$(uname)" = Linux ]; then
    missing=$(missing_packages | tr '\n' ' ')
    if [ -n "$missing" ] && as_root; then
        # shellcheck disable=SC2086  # a list of words
        apt_install $missing libgl1-mesa-dri
        missing=$(missing_packages | tr '\n' ' ')
    fi
    [ -z "$missing" ] || stop "Qt needs system packages that are missing. Install them, then run make again:
    sudo apt-get install ${missing}libgl1-mesa-dri"
fi

[ "${1:-}" != system ] || exit 0

# --- Python ----------------------------------------------------------------------------------
usable() { "$1" -c "import sys; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1; }
has_venv() { "$1" -c "import ensurepip, venv" >/dev/null 2>&1; }

find_python() {
    for candidate in python3.11 python3.12 python3.13 python3 /usr/bin/python3.11 /usr/bin/python3; do
        if usable "$candidate" && "$1" "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

if [ ! -x .venv/bin/python ] || ! usable .venv/bin/python; then
    python=$(find_python has_venv)
    if [ -z "$python" ] && as_root; then
        apt_install python3 python3-venv
        python=$(find_python has_venv)
    fi
    if [ -z "$python" ] && [ -n "$(find_python true)" ]; then
        stop "$(find_python true) cannot create virtual environments. Install its venv module, then run make again:
    sudo apt-get install python3-venv"
    fi
    [ -n "$python" ] || stop "Python 3.11 or later is needed. Install it, then run make again:
    sudo apt-get install python3 python3-venv"
    say "setup: creating .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
fi

say "setup: installing the project and its dependencies (some minutes the first time)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
touch .venv/ready
