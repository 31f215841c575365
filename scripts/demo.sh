#!/usr/bin/env bash
# Starts Lotse and lets it deliver the Students system from this repository, until a request through the edge answers.
#   scripts/demo.sh DIRECTORY-OF-BINARIES [down]
# Ports other than 80, 443 and 6443: LOTSE_HTTP_PORT, LOTSE_HTTPS_PORT, LOTSE_API_PORT; another cluster than the default one:
# LOTSE_PROFILE.
set -euo pipefail
cd "$(dirname "$0")/.."
binaries=$(realpath "${1:?usage: scripts/demo.sh DIRECTORY-OF-BINARIES [down]}")
lotse=$binaries/lotse
demo=$PWD/.cache/demo/${LOTSE_PROFILE:-default}

if [ "${2:-}" = down ]; then
	"$lotse" reset --yes
	rm -rf "$demo"
	exit
fi

scripts/images.sh "$binaries"
"$lotse" up --detach

# A registry that serves the images may exist; here they are imported under the names that the manifests use.
import() { "$lotse" image import ".cache/images/$1.tar" --config ".cache/images/$1.json" --name "$2"; }
import postgres postgres:15-alpine
import students localhost:30002/studenten/manifest-app:v1

# What is not in Git: the password and the pull secret, and where this clone is. It becomes a plain directory that an
# Application of its own delivers, so that no other client is needed.
mkdir -p "$demo"
chmod 700 "$demo"
if [ ! -e "$demo/secrets.yaml" ]; then
	password=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
	auth=$(printf 'demo:%s' "$password" | base64 -w0)
	cat > "$demo/secrets.yaml" <<-YAML
		apiVersion: v1
		kind: Namespace
		metadata:
		  name: studenten
		---
		apiVersion: v1
		kind: Secret
		metadata:
		  name: app-secrets
		  namespace: studenten
		stringData:
		  db_user: studenten
		  db_password: "$password"
		---
		apiVersion: v1
		kind: Secret
		metadata:
		  name: harbor-pull
		  namespace: studenten
		type: kubernetes.io/dockerconfigjson
		stringData:
		  .dockerconfigjson: '{"auths": {"localhost:30002": {"auth": "$auth"}}}'
	YAML
fi
sed "s#REPOSITORY#file://$PWD#" systems/students/application.yaml > "$demo/application.yaml"
"$lotse" app create demo --repo "$demo" --path . --namespace argocd

url=http://localhost${LOTSE_HTTP_PORT:+:$LOTSE_HTTP_PORT}/api/student
deadline=$(($(date +%s) + 180))
until answer=$(curl --silent --fail --max-time 5 "$url") && "$lotse" app get students 2>/dev/null | head -n1 | grep -q 'Synced.*Healthy'; do
	if [ "$(date +%s)" -gt "$deadline" ]; then
		echo "the Students system does not answer; this is how it is:" >&2
		"$lotse" status >&2 || true
		"$lotse" app get students >&2 || true
		exit 1
	fi
	sleep 0.2
done
"$lotse" app get students | head -n1
printf '$ curl %s\n%s\n' "$url" "$answer"
printf '$ kubectl --kubeconfig %s get pods -A\n' "$("$lotse" kubeconfig --path)"
if command -v kubectl > /dev/null; then
	kubectl --kubeconfig "$("$lotse" kubeconfig --path)" get pods -A || true
fi
echo "Swagger UI: ${url%/api/student}/swagger · stop: $lotse down · delete everything: make demo-down"
