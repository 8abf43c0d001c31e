#!/usr/bin/env bash
# Makes the certificates of the tests of TLS anew: an authority, a server's and a client's that it signed, and an authority
# that signed nothing. They are for tests alone, and good for a hundred years. Needs openssl.
set -euo pipefail
cd "$(dirname "$0")"
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj "/CN=$2" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -keyout "$1.key" -out "$1.pem"
}
signed() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj "/CN=$2" -CA ca.pem -CAkey ca.key \
    -addext basicConstraints=critical,CA:FALSE -addext "$3" -addext "$4" -keyout "$1.key" -out "$1.pem"
}
authority ca "Authority of the tests"
authority stranger "Nobody knows this authority"
signed server "Server of the tests" subjectAltName=DNS:broker.test,IP:127.0.0.1 extendedKeyUsage=serverAuth
signed client "Client of the tests" subjectAltName=DNS:client.test extendedKeyUsage=clientAuth
rm ca.key stranger.key
