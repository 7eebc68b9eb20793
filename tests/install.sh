#!/bin/sh
# install.sh BUILD: what `make install` puts down serves programs outside the tree, shows what the headers declare and
# nothing else, and goes away whole with `make uninstall`. Prints what does not and exits 1.
set -eu
build=$(cd "$1" && pwd)
at=$build/installed
fail() { echo "install: $*" >&2; exit 1; }
# Only copies: BUILD is up to date, and another make's flags are none of its business.
install() { env -u MAKEFLAGS -u MAKELEVEL make -s B="$build" "$@" >"$at/log" 2>&1 || fail "make $*: $(cat "$at/log")"; }
files() { (cd "$1" && find . ! -type d | sort); }

rm -rf "$at"
mkdir -p "$at/outside"
install install PREFIX="$at/usr"
install install PREFIX=/usr DESTDIR="$at/stage"
[ "$(files "$at/usr")" = "$(files "$at/stage/usr")" ] || fail "DESTDIR and PREFIX get different files"
! grep -rl "$at" "$at/stage/usr/lib/pkgconfig" "$at/stage/usr/lib/cmake" || fail "DESTDIR stands in a file that is installed"

# ---- one version, one set of names ----

version=$(sed -n 's/^#define TH_VERSION "\(.*\)"$/\1/p' "$at/usr/include/tapehead/tapehead.h")
export PKG_CONFIG_PATH="$at/usr/lib/pkgconfig" LD_LIBRARY_PATH="$at/usr/lib"
[ "$(pkg-config --modversion tapehead)" = "$version" ] || fail "tapehead.pc is not of version $version"
[ "$("$at/usr/bin/tapehead-translate" --version)" = "tapehead-translate, of tapehead $version" ] ||
  fail "tapehead-translate does not say that it is of version $version"
head -n 1 debian/changelog | grep -qF "tapehead ($version)" || fail "debian/changelog is not of version $version"

# A name is public that a header has and the library defines: these are exported, and no others.
cat "$at"/usr/include/tapehead/*.h | grep -o 'th_[a-z0-9_]*' | sort -u >"$at/words"
nm -g --defined-only "$at/usr/lib/libtapehead.a" | awk 'NF == 3 { print $3 }' | sort -u | comm -12 - "$at/words" >"$at/public"
nm -D --defined-only "$at/usr/lib/libtapehead.so" | awk '{ print $3 }' | sort -u >"$at/exported"
[ -s "$at/public" ] || fail "no public names found"
diff "$at/public" "$at/exported" >"$at/log" || fail "names declared (<) and exported (>) differ: $(head -n 20 "$at/log")"

for command in $("$at/usr/bin/tapehead-translate" --help | awk '/^  [a-z]/ { print $1 }'); do
  grep -qx ".SS $command" "$at/usr/share/man/man1/tapehead-translate.1" || fail "the manual page lacks $command"
done

# ---- a program outside the tree ----

cp examples/attention.c "$at/outside"
cd "$at/outside"
# try HOW NEEDED: ./HOW is built, learns what it should, and loads NEEDED libraries of tapehead.
try() {
  [ "$(readelf -d "$1" | grep -c 'NEEDED.*\[libtapehead\.so\.')" = "$2" ] || fail "$1: not linked as it should be"
  "./$1" >/dev/null || fail "$1: attention.c does not learn"
}
# shellcheck disable=SC2046  # flags are meant to split
cc attention.c $(pkg-config --cflags --libs tapehead) -o shared || fail "pkg-config --libs does not link"
try shared 1
# shellcheck disable=SC2046
cc attention.c $(pkg-config --cflags --static --libs tapehead | sed 's/-ltapehead/-l:libtapehead.a/') -o static ||
  fail "pkg-config --static --libs does not link"
try static 0
if command -v cmake >/dev/null; then
  cat >CMakeLists.txt <<EOF
cmake_minimum_required(VERSION 3.13)
project(outside C)
find_package(tapehead $version REQUIRED)
add_executable(with-cmake attention.c)
target_link_libraries(with-cmake tapehead::tapehead)
EOF
  { cmake -S . -B . -DCMAKE_PREFIX_PATH="$at/usr" && cmake --build .; } >log 2>&1 || fail "cmake: $(cat log)"
  try with-cmake 1
fi
cd "$OLDPWD"

# ---- gone ----

install uninstall PREFIX="$at/usr"
install uninstall PREFIX=/usr DESTDIR="$at/stage"
left=$(find "$at/usr" "$at/stage" ! -type d -o -name 'tapehead*')
[ -z "$left" ] || fail "make uninstall leaves: $left"
rm -r "$at"
