#!/bin/sh
# arm64.sh: the library, program and examples cross-compiled for arm64, and run under qemu: gradcheck, the examples, a
# training that is resumed, and as many tests as run there. Debian's packages for arm64 are unpacked into
# build/arm64-root; the machine's own packages stay as they are, but for the compiler and the emulator.
set -eu
cross=aarch64-linux-gnu
root=$PWD/build/arm64-root
packages=$*

# ---- Debian's arm64, unpacked ----

apt() {
  apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$root/apt" \
    -o Dir::State::status="$root/apt/status" -o Dir::Cache="$root/apt" -o APT::Sandbox::User=root \
    -o Debug::NoLocking=true "$@"
}
if [ ! -e "$root/done" ]; then
  mkdir -p "$root/apt/lists/partial" "$root/apt/archives/partial"
  : >"$root/apt/status"
  apt update
  # shellcheck disable=SC2086  # the list is meant to split
  apt install --download-only --no-install-recommends libc6-dev libgcc-12-dev fonts-dejavu-core $packages
  for package in "$root"/apt/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done
  touch "$root/done"
fi
