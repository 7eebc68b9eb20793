#!/bin/sh
# arm64.sh PACKAGE...: library, program and examples cross-compiled for arm64, and run under qemu: gradcheck, the tests,
# the examples, a training. Debian's packages for arm64 are unpacked below build/; this machine keeps its own.
set -eu
root=$PWD/build/arm64-root
lib=usr/lib/aarch64-linux-gnu
say() { echo; echo "arm64: $*"; }

# ---- Debian's arm64 ----

# An apt of its own, in which nothing is installed yet.
foreign_apt() {
  apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$root/apt" \
    -o Dir::State::status="$root/apt/status" -o Dir::Cache="$root/apt" -o APT::Sandbox::User=root \
    -o Debug::NoLocking=true "$@"
}
if [ ! -e "$root/complete" ]; then
  say "packages into build/arm64-root"
  rm -rf "$root"
  mkdir -p "$root/apt/lists/partial" "$root/apt/archives/partial"
  : >"$root/apt/status"
  foreign_apt update
  foreign_apt install --download-only --no-install-recommends libc6-dev fonts-dejavu-core "$@"
  for package in "$root"/apt/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done
  find "$root" -type l -lname '/*' | while read -r link; do ln -sfn "$root$(readlink "$link")" "$link"; done
  touch "$root/complete"
fi

# ---- built ----

say "build/arm64"
export PKG_CONFIG_SYSROOT_DIR="$root"
export PKG_CONFIG_LIBDIR="$root/$lib/pkgconfig:$root/$lib/openblas-pthread/pkgconfig"
# What Debian's alternatives would choose stands in LD_LIBRARY_PATH.
export RUN="qemu-aarch64 -L $root -E LD_LIBRARY_PATH=/$lib/openblas-pthread"
at=build/arm64
examples='attention own_op translator one_stack language_model classifier'
# shellcheck disable=SC2046,SC2086  # the lists are meant to split
make B=$at CC=aarch64-linux-gnu-gcc AR=aarch64-linux-gnu-ar CFLAGS="-O3 -g -march=armv8-a --sysroot=$root" \
  product $at/gradcheck $at/tests-unboxed $(printf "$at/%s " $examples)

# ---- run ----

# The last line of what a program says; all of it where it fails.
run() {
  program=$1
  shift
  $RUN "$at/$program" "$@" >$at/said 2>&1 || { cat $at/said; say "$program failed"; exit 1; }
  tail -n 1 $at/said
}

say "gradcheck"
run gradcheck

# Without those that start the program, which an emulator does not do for them, and those that limit memory, of which
# qemu takes no notice.
say "tests"
run tests-unboxed --without translate_ --without interop:: --without arena::an_allocation_without_memory \
  --without arena::without_memory --without tensor::new_says_when_there_is_no_memory

say "examples"
for example in $examples; do run "$example"; done

say "a training, with one thread and with two, and a study of its heads"
for threads in 1 2; do
  rm -rf $at/run-$threads
  run translate train --task copy --steps 60 --batch 16 --width 32 --heads 2 --feed-forward 32 --held-out 32 \
    --snapshot-every 0 --threads $threads --out $at/run-$threads
done
cmp $at/run-1/model.safetensors $at/run-2/model.safetensors
run translate eval $at/run-1
run translate heads $at/run-1
say "all well"
