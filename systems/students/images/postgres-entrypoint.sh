#!/bin/sh
# Starts PostgreSQL 15; on an empty data directory it first creates the cluster, the user and the database, like the official
# image: POSTGRES_USER (default postgres), POSTGRES_PASSWORD (required), POSTGRES_DB (default: the user), PGDATA.
set -eu
[ "${1:-postgres}" = postgres ] || exec "$@"
: "${PGDATA:=/var/lib/postgresql/data}" "${POSTGRES_USER:=postgres}"
: "${POSTGRES_DB:=$POSTGRES_USER}"
export PGDATA
# Started as root: take over the directory and come back as the user of the database.
if [ "$(id -u)" = 0 ]; then
	mkdir -p "$PGDATA" /var/run/postgresql
	chown -R postgres:postgres "$PGDATA" /var/run/postgresql
	exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	[ -n "${POSTGRES_PASSWORD:-}" ] || { echo "POSTGRES_PASSWORD is not set: a database without a password is not started" >&2; exit 1; }
	# An interrupted first start leaves a half-made directory: it has never held data, so it is made anew.
	staging="$PGDATA.staging"
	rm -rf "$staging"
	mkdir -p "$staging"
	password=$(mktemp)
	trap 'rm -f "$password"' EXIT
	printf '%s\n' "$POSTGRES_PASSWORD" > "$password"
	initdb --pgdata="$staging" --username="$POSTGRES_USER" --pwfile="$password" --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256 >/dev/null
	printf 'host all all all scram-sha-256\n' >> "$staging/pg_hba.conf"
	# shellcheck disable=SC2016
	printf "listen_addresses = '*'\njit = off\n" >> "$staging/postgresql.conf"
	if [ "$POSTGRES_DB" != postgres ]; then
		printf 'CREATE DATABASE "%s";\n' "$POSTGRES_DB" | postgres --single -D "$staging" postgres >/dev/null
	fi
	[ -d "$PGDATA" ] && rmdir "$PGDATA"
	mv "$staging" "$PGDATA"
fi
# A volume with fsGroup is given to the group with every new pod; PostgreSQL refuses a directory that the group may write.
chmod 00700 "$PGDATA"
shift $(($# > 0 ? 1 : 0))
exec postgres "$@"
