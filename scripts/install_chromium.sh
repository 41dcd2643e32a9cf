#!/usr/bin/env bash
# Installs the browser that the atlas' tests drive, unless there is one: $QUADRIC_CHROMIUM, or
# chromium on the PATH. From Debian or Ubuntu's packages as root or with sudo; elsewhere the build
# that Playwright keeps in the user's cache. Changes nothing when a browser is found.
set -euo pipefail

python=${1:-python3}
if [ -n "${QUADRIC_CHROMIUM:-}" ] || command -v chromium >/dev/null; then
  exit 0
fi
if "$python" -c 'import sys; from pathlib import Path; from playwright.sync_api import sync_playwright
with sync_playwright() as p: sys.exit(not Path(p.chromium.executable_path).exists())' 2>/dev/null; then
  exit 0
fi
root=
[ "$(id -u)" = 0 ] || root=sudo
if command -v apt-get >/dev/null && { [ -z "$root" ] || command -v sudo >/dev/null; }; then
  echo "installing chromium for the atlas' tests"
  export DEBIAN_FRONTEND=noninteractive
  $root apt-get update -qq
  $root apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
else
  "$python" -m playwright install chromium
fi
