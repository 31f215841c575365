# Runs in the machine as root, at each boot; what it says goes to the second serial port.
exec > /dev/ttyS1 2>&1
export HOME=/root PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin KUBECONFIG=/var/lib/lotse/default/kubeconfig
cd /root/lotse || exit 1

# claim NAME COMMAND...: tries for two minutes.
claim() {
	local name=$1 deadline=$((SECONDS + 120))
	shift
	until "$@" > /tmp/claim 2>&1; do
		if [ "$SECONDS" -gt "$deadline" ]; then
			echo "not ok $name"
			cat /tmp/claim
			return
		fi
		sleep 1
	done
	echo "ok $name"
}
answers() { curl --silent --fail --max-time 10 http://localhost/api/student | grep -q "$1"; }
reason() { [ "$(kubectl get pod hungry -o 'jsonpath={.status.containerStatuses[0].state.terminated.reason}')" = "$1" ]; }
restarts() { kubectl get pods -n studenten -o 'jsonpath={.items[*].status.containerStatuses[*].restartCount}' | grep -qx "$1"; }
limit() { kubectl exec bounded -- cat "/sys/fs/cgroup/$1" | grep -qx "$2"; }

pod() { # NAME LIMITS COMMAND
	kubectl apply -f - <<-YAML
		apiVersion: v1
		kind: Pod
		metadata: {name: $1}
		spec:
		  restartPolicy: Never
		  containers: [{name: main, image: "postgres:15-alpine", resources: {limits: $2}, command: $3}]
	YAML
}

if [ ! -e /root/booted ]; then
	touch /root/booted
	uname -r
	claim the_machine_has_cgroup_v2 grep -q memory /sys/fs/cgroup/cgroup.controllers
	scripts/demo.sh /root/bin
	claim the_demo_answers answers '\['
	curl --silent -X POST -H 'content-type: application/json' -d '{"name": "Ada", "age": 36}' http://localhost/api/student
	claim a_student_is_kept answers Ada
	pod hungry '{memory: 64Mi}' '[perl, -e, "$x = q(a) x (1 << 30); sleep 60"]'
	claim memory_limits_are_enforced reason OOMKilled
	pod bounded '{memory: 64Mi, cpu: 200m}' '[sleep, "100000"]'
	claim a_container_sees_its_memory_limit limit memory.max 67108864
	claim a_container_sees_its_cpu_limit limit cpu.max '20000 100000'
	pkill -9 -f 'lotse up'
	sleep 1
	lotse up --detach
	claim a_killed_daemon_adopts_what_runs answers Ada
	claim nothing_was_restarted restarts '0 0 0 0'
	kubectl delete pod hungry bounded --grace-period=1
	lotse down
	systemctl enable --now lotse
	claim the_service_brings_the_system_back answers Ada
	systemctl reboot
else
	claim a_reboot_brings_the_system_back answers Ada
	lotse app list
	ps axo rss,args | grep '[l]otse up'
	echo end
	systemctl poweroff
fi
