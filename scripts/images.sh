#!/usr/bin/env bash
# Makes the images of the example systems from Debian's packages: root file systems as tar files in .cache/images, each with
# the image configuration beside it (NAME.tar + NAME.json). What is there and current is not made again.
#   scripts/images.sh DIRECTORY-OF-BINARIES
set -euo pipefail
cd "$(dirname "$0")/.."
binaries=${1:?usage: scripts/images.sh DIRECTORY-OF-BINARIES}
cache=.cache/images
mkdir -p "$cache"

# The Debian or Ubuntu release of this machine's own apt sources.
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")

# NAME PACKAGES [mmdebstrap options]: a small root file system; documentation and translations stay out.
debian() {
	local name=$1 packages=$2
	shift 2
	echo "image $name: from packages $packages" >&2
	mmdebstrap --quiet --format=tar --variant=minbase --include="$packages" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' "$@" "$suite" "$cache/$name.tar.tmp" >&2
	mv "$cache/$name.tar.tmp" "$cache/$name.tar"
}

postgres() {
	local entrypoint=systems/students/images/postgres-entrypoint.sh
	if [ ! -e "$cache/postgres.tar" ] || [ "$entrypoint" -nt "$cache/postgres.tar" ] || [ "$0" -nt "$cache/postgres.tar" ]; then
		local version
		version=$(apt-cache search --names-only '^postgresql-[0-9]+$' | cut -d' ' -f1 | grep -x postgresql-15 || true)
		version=${version:-$(apt-cache depends postgresql | awk '/Depends: postgresql-[0-9]+$/ {print $2; exit}')}
		# uid 999 as in the official image. The just-in-time compiler (LLVM, 110 MB) is not used and left out.
		debian postgres "$version" \
			--essential-hook='echo "postgres:x:999:" >> "$1/etc/group"' \
			--essential-hook='echo "postgres:x:999:999:PostgreSQL:/var/lib/postgresql:/bin/sh" >> "$1/etc/passwd"' \
			--essential-hook='mkdir -p "$1/etc/postgresql-common" && echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.conf"' \
			--customize-hook='rm -f "$1"/usr/lib/*/libLLVM* "$1"/usr/lib/postgresql/*/lib/llvmjit*' \
			--customize-hook='(cd "$1/usr/bin" && ln -sf ../lib/postgresql/*/bin/* .) && mkdir -p "$1/var/run/postgresql" "$1/var/lib/postgresql/data" && chroot "$1" chown -R postgres:postgres /var/run/postgresql /var/lib/postgresql && chmod 3777 "$1/var/run/postgresql"' \
			--customize-hook="copy-in $entrypoint /usr/local/bin"
	fi
	cat > "$cache/postgres.json" <<-JSON
		{"Entrypoint": ["/usr/local/bin/postgres-entrypoint.sh"], "Cmd": ["postgres"], "User": "postgres", "StopSignal": "SIGINT",
		 "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PGDATA=/var/lib/postgresql/data", "LANG=C.UTF-8"]}
	JSON
}

# A program, the shared libraries that it needs, and a shell to look around with.
program() {
	local name=$1 binary=$2
	if [ ! -e "$cache/$name.tar" ] || [ "$binary" -nt "$cache/$name.tar" ] || [ "$0" -nt "$cache/$name.tar" ]; then
		echo "image $name: from $(basename "$binary")" >&2
		local root
		root=$(mktemp -d)
		mkdir -p "$root"/{app,bin,dev,etc,proc,sys,tmp,lib64}
		chmod 1777 "$root/tmp"
		cp "$binary" "$root/app/$name"
		strip --strip-debug "$root/app/$name"
		ldd "$binary" | grep -oE '/[^ ]+' | while read -r library; do
			mkdir -p "$root$(dirname "$library")"
			cp -L "$library" "$root$library"
		done
		if command -v busybox >/dev/null; then
			cp -L "$(command -v busybox)" "$root/bin/busybox"
			for applet in sh ls cat ps wget nslookup; do ln -s busybox "$root/bin/$applet"; done
		fi
		printf 'root:x:0:0:root:/:/bin/sh\napp:x:1000:1000::/app:/bin/sh\n' > "$root/etc/passwd"
		printf 'root:x:0:\napp:x:1000:\n' > "$root/etc/group"
		printf 'hosts: files dns\n' > "$root/etc/nsswitch.conf"
		tar --owner=0 --group=0 -C "$root" -cf "$cache/$name.tar.tmp" .
		rm -rf "$root"
		mv "$cache/$name.tar.tmp" "$cache/$name.tar"
	fi
	printf '{"Entrypoint": ["/app/%s"], "User": "1000:1000", "WorkingDir": "/app", "ExposedPorts": {"8080/tcp": {}}}\n' "$name" > "$cache/$name.json"
}

postgres
program students "$binaries/students"
