#!/usr/bin/env bash
# Install every peer that tests/peers runs against, on Debian 12, as root. Safe to repeat; quick when
# all is there. Services that apt would start are kept from starting: the tests start their own.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
venv="$root/.cache/peers-venv"
packages=(dcmtk orthanc orthanc-dicomweb orthanc-gdcm pixelmed-apps default-jre-headless nginx
  postgresql memcached liberasurecode1 fiu-utils faketime procps util-linux chromium)
services=(orthanc nginx postgresql memcached)

missing=()
for package in "${packages[@]}"; do
  state="$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)"
  [ "$state" = "install ok installed" ] || missing+=("$package")
done

if [ "${#missing[@]}" -gt 0 ]; then
  [ "$(id -u)" = 0 ] || { echo "run as root to install: ${missing[*]}" >&2; exit 1; }
  export DEBIAN_FRONTEND=noninteractive
  # invoke-rc.d asks this script; 101 means "not allowed". A policy of the machine's own is put back.
  policy=/usr/sbin/policy-rc.d
  [ ! -e "$policy" ] || mv "$policy" "$policy.before-peers"
  restore() { rm -f "$policy"; [ ! -e "$policy.before-peers" ] || mv "$policy.before-peers" "$policy"; }
  trap restore EXIT
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod 755 "$policy"
  apt-get update -q
  apt-get install -q -y --no-install-recommends "${missing[@]}"
  restore
  trap - EXIT
  for service in "${services[@]}"; do
    if [ -d /run/systemd/system ]; then
      systemctl disable --now "$service" >/dev/null 2>&1 || true
    elif [ -x "/etc/init.d/$service" ]; then
      "/etc/init.d/$service" stop >/dev/null 2>&1 || true
    fi
  done
fi

# Swift has a venv of its own: its dependencies are no concern of the project's lock file.
if ! "$venv/bin/python" -c 'import swift, pyeclib' >/dev/null 2>&1; then
  python="${PYTHON:-python3}"
  if ! "$python" -m venv --clear "$venv" 2>/dev/null; then
    # Debian's own python3 lacks ensurepip; the project's interpreter has it.
    "$root/.venv/bin/python" -m venv --clear "$venv"
  fi
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    'swift>=2.35' 'pyeclib>=1.6.4' 'setuptools<81'
fi

for program in /usr/bin/dcmqrscp /usr/bin/movescu /usr/sbin/Orthanc /usr/bin/java /usr/sbin/nginx \
  /usr/bin/memcached /usr/bin/chromium "$venv/bin/swift-proxy-server"; do
  [ -x "$program" ] || { echo "installed, but not found: $program" >&2; exit 1; }
done
ls /usr/lib/postgresql/*/bin/postgres /usr/share/java/pixelmed.jar \
  /usr/share/orthanc/plugins/libOrthancDicomWeb.so >/dev/null
echo "peers: all installed"
