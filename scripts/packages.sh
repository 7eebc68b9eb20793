#!/bin/sh
# packages.sh MODULE:PACKAGE... command=NAME:PACKAGE... python=NAME:PACKAGE...: installs the Debian packages whose
# pkg-config module, command, file or module of Debian's own Python is missing. Where apt-get is not to be had, prints
# what is needed and stops.
set -u

missing=
command -v pkg-config >/dev/null 2>&1 || missing="pkg-config"
for pair in "$@"; do
  what=${pair%%:*}
  case $what in
  command=*) command -v "${what#command=}" >/dev/null 2>&1 ;;
  file=*) [ -e "${what#file=}" ] ;;
  python=*) /usr/bin/python3 -c "import ${what#python=}" 2>/dev/null ;;
  *) pkg-config --exists "$what" 2>/dev/null ;;
  esac || missing="$missing ${pair#*:}"
done
# A font for the labels in pictures; any will do.
if command -v fc-list >/dev/null 2>&1; then
  [ -n "$(fc-list 2>/dev/null | head -n 1)" ] || missing="$missing fonts-dejavu-core"
else
  missing="$missing fontconfig fonts-dejavu-core"
fi
command -v cc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
[ -n "$missing" ] || exit 0

as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
if ! command -v apt-get >/dev/null 2>&1 || { [ -n "$as_root" ] && ! command -v sudo >/dev/null 2>&1; }; then
  echo "tapehead needs these packages (Debian's names):$missing" >&2
  echo "Install them as root, then run make again:  apt-get install$missing" >&2
  exit 1
fi
echo "Installing what is missing:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # the list is meant to split
if $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null; then
  exit 0
fi
echo "apt-get could not install:$missing" >&2
exit 1
