#!/bin/sh
# rooms.sh [LIBRARY]: each room includes only the rooms to its left,
#
#     tensor <- autograd <- nn <- optim, io, study <- examples    optim <- ranks <- examples    plot and measure know only tensor
#
# and every global symbol of LIBRARY (libtapehead.a) begins with th_. Prints a line for each breach and
# exits 1; without one it says nothing. Works on the tree below the working directory.
set -u

if [ ! -d src ] || [ ! -d include/tapehead ]; then
  echo "rooms.sh: there is no src/ and include/tapehead/ here: run it from the top of the tree" >&2
  exit 1
fi
found=$(mktemp) || exit 1
trap 'rm -f "$found"' EXIT
trap 'exit 1' HUP INT TERM

# The rooms of private files are folders of src/, those of public headers their names. An include is also
# what a macro names for a later `#include MACRO`.
# shellcheck disable=SC2016  # awk's $0, not the shell's
find src include examples -type f \( -name '*.[ch]' -o -name '*.inc' \) -print | sort | xargs awk '
  BEGIN {
    may["tensor"] = "tensor"
    may["autograd"] = "tensor autograd"
    may["nn"] = "tensor autograd nn"
    may["optim"] = may["nn"] " optim"
    may["ranks"] = may["optim"] " ranks"
    may["io"] = may["nn"] " io"
    may["study"] = may["nn"] " study"
    may["plot"] = "tensor plot"
    may["measure"] = "tensor measure"
    may["examples"] = may["tapehead"] = "tensor autograd nn optim ranks io study plot measure tapehead examples"
  }

  function room_of_file(path, part, n) {
    n = split(path, part, "/")
    if (part[1] == "examples") return "examples"
    if (part[1] == "src" && n > 2) return part[2]
    if (part[1] == "include" && part[2] == "tapehead" && n == 3) return sub(/\.h$/, "", part[3]) ? part[3] : ""
    return ""
  }

  # The file that `name`, included from `path`, stands for: a public header, or one beside `path`.
  function resolve(path, name, part, i, n, depth, at) {
    if (name ~ /^tapehead\//) return "include/" name
    sub(/[^\/]*$/, "", path)
    n = split(path name, part, "/")
    for (i = 1; i <= n; i++) {
      if (part[i] == "..") depth--
      else if (part[i] != "." && part[i] != "") at[++depth] = part[i]
    }
    name = at[1]
    for (i = 2; i <= depth; i++) name = name "/" at[i]
    return name
  }

  function breach(text) { print FILENAME ":" FNR ": " text }

  FNR == 1 {
    room = room_of_file(FILENAME)
    if (!(room in may)) breach("is in no room that this script knows")
  }

  /^[ \t]*#[ \t]*include[ \t]*["<]/ || /^[ \t]*#[ \t]*define[ \t].*"[^"]*\.(h|c|inc)"/ {
    split($0, piece, /["<>]/)
    if (piece[1] ~ /include[ \t]*$/ && $0 ~ /include[ \t]*</ && piece[2] !~ /^(\.|tapehead\/|src\/|examples\/)/) next
    other = room_of_file(file = resolve(FILENAME, piece[2]))
    if (other == "") breach("includes " file ", which is in no room")
    else if (room in may && index(" " may[room] " ", " " other " ") == 0)
      breach(room " includes " file ", but " room " may only know " may[room])
  }
' >"$found" || { echo "rooms.sh: awk failed" >&2; exit 1; }

if [ $# -gt 0 ]; then
  symbols=$(nm -g -A --defined-only "$1") || echo "$1: its symbols cannot be read" >>"$found"
  # __odr_asan.*: AddressSanitizer marks each global variable with one.
  printf '%s\n' "$symbols" | awk 'NF > 1 && $NF !~ /^th_/ && $NF !~ /^__odr_asan/ {
    sub(/:[^:]*$/, "", $1); print $1 ": the symbol " $NF " does not begin with th_; static, or a prefix?" }' >>"$found"
fi

cat "$found"
[ ! -s "$found" ]
