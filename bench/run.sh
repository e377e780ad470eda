#!/bin/sh
# Prints the ratios that the design promises. NODE_EXTRA_CA_CERTS costs every start of Node.js some 50 ms: off for both sides.
set -eu
cd "$(dirname "$0")/.."
unset NODE_EXTRA_CA_CERTS
node src/bundle.mjs
node --import tsx bench/build.ts
node --import tsx bench/watch.ts
