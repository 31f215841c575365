#!/usr/bin/env bash
# Installs what a build (no argument), the demo (`demo`) or the tests (`test`) need on Debian or Ubuntu, and only what is missing.
# Rust comes from rustup, and only where no recent cargo is found.
set -euo pipefail

wanted_rust=1.95
what=${1:-build}
sudo=; [ "$(id -u)" = 0 ] || sudo=sudo

version_at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n1)" = "$1" ]; }

packages=()
need() { command -v "$1" >/dev/null 2>&1 || packages+=("$2"); }

need cc gcc
need make make
need git git
need curl curl
need pkg-config pkg-config
[ -e /etc/ssl/certs/ca-certificates.crt ] || packages+=(ca-certificates)
case $what in
demo | test)
	need mmdebstrap mmdebstrap
	;;
esac
case $what in
test)
	need nft nftables
	need ip iproute2
	need jq jq
	need python3 python3
	need busybox busybox-static
	need ssh openssh-client
	[ -x /usr/sbin/sshd ] || packages+=(openssh-server)
	;;
bench)
	need mmdebstrap mmdebstrap
	need jq jq
	need python3 python3
	need etcd etcd-server
	need busybox busybox-static
	;;
esac
if [ ${#packages[@]} -gt 0 ]; then
	echo "installing: ${packages[*]}" >&2
	$sudo apt-get update -qq
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

# Debian's kubernetes-client (1.20) is too old for exec and port-forward over websockets but still a supported client.
if [ "$what" = test ] && ! command -v kubectl >/dev/null 2>&1; then
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends kubernetes-client >/dev/null
fi

found=$(cargo --version 2>/dev/null | cut -d' ' -f2 || true)
if [ -z "$found" ] && [ -x "$HOME/.cargo/bin/cargo" ]; then
	found=$("$HOME/.cargo/bin/cargo" --version | cut -d' ' -f2)
fi
if [ -z "$found" ] || ! version_at_least "$wanted_rust" "$found"; then
	echo "installing Rust by rustup (found: ${found:-none}, wanted: $wanted_rust or newer)" >&2
	curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y -q --profile minimal --component rustfmt --component clippy
fi
