#!/bin/bash
# The tour: a server and two nodes on this machine, each node in a network
# namespace of its own, so that they are two hosts as far as the network knows.
#   demo.sh        run the tour, leave the cluster running
#   demo.sh stop   remove everything the tour made
set -euo pipefail
cd "$(dirname "$0")/../.."

STATE=$PWD/.demo
BIN=${PINTLE_BIN_DIR:-$PWD/target/release}
PINTLE=$BIN/pintle
BRIDGE=ptdemo0
SUBNET=10.88.77
SERVER=$SUBNET.1
API=16443
LINK=16444
NODES=(node-a node-b)
export PINTLE_KUBECONFIG=$STATE/kubeconfig

bold=$(tput bold 2>/dev/null || true) plain=$(tput sgr0 2>/dev/null || true)
step() { printf '\n%s==> %s%s\n' "$bold" "$*" "$plain"; }
CURRENT_HINT=""
hint() { CURRENT_HINT=$*; }
failed() {
    printf '\nThe demo stopped at line %s.\n' "$1" >&2
    [ -z "$CURRENT_HINT" ] || printf 'What to do: %s\n' "$CURRENT_HINT" >&2
    printf 'Logs: %s/*.log    Clean up: make demo-stop\n' "$STATE" >&2
}
netns() { echo "ptdemo-$1"; }

stop() {
    # Agents first: their pods are theirs to remove.
    for pidfile in "$STATE"/*.pid; do
        [ -f "$pidfile" ] || continue
        pid=$(cat "$pidfile")
        # Only what this script started: the program behind the number must be ours.
        # A rebuilt one is shown as deleted, and is ours all the same.
        program=$(readlink "/proc/$pid/exe" 2>/dev/null || true)
        if [ "${program% (deleted)}" = "$PINTLE" ]; then
            kill "$pid" 2>/dev/null || true
            timeout 10 tail --pid="$pid" -f /dev/null || kill -9 "$pid" 2>/dev/null || true
        fi
        rm -f "$pidfile"
    done
    # Containers outlive their agents by design, so they are ended here.
    for node in "${NODES[@]}"; do
        [ -d "$STATE/$node/node" ] || continue
        nsenter --net="/run/netns/$(netns "$node")" "$PINTLE" reset --data-dir "$STATE/$node" || {
            echo "$node still has containers; its state stays in $STATE/$node" >&2
            exit 1
        }
    done
    for node in "${NODES[@]}"; do ip netns del "$(netns "$node")" 2>/dev/null || true; done
    ip link del "$BRIDGE" 2>/dev/null || true
    rm -rf "$STATE"
}

if [ "${1:-}" = stop ]; then
    stop
    echo "The demo's cluster is gone."
    exit 0
fi

trap 'failed $LINENO' ERR
[ "$(id -u)" = 0 ] || { echo "The demo makes network namespaces and runs containers: run it as root." >&2; exit 1; }

step "Removing what an earlier demo left"
hint "make demo-stop, then try again"
stop
mkdir -p "$STATE"

step "Network: bridge $BRIDGE ($SUBNET.0/24) and one namespace per node"
hint "iproute2 must be able to make bridges, veth pairs and namespaces on this kernel"
ip link add "$BRIDGE" type bridge
ip addr add "$SERVER/24" dev "$BRIDGE"
ip link set "$BRIDGE" up
number=10
for node in "${NODES[@]}"; do
    ns=$(netns "$node")
    number=$((number + 1))
    ip netns add "$ns"
    ip link add "ptd-$number" type veth peer name eth0 netns "$ns"
    ip link set "ptd-$number" master "$BRIDGE" up
    ip -n "$ns" addr add "$SUBNET.$number/24" dev eth0
    ip -n "$ns" link set lo up
    ip -n "$ns" link set eth0 up
    ip -n "$ns" route add default via "$SERVER"
    echo "  $node has address $SUBNET.$number"
done

# Waits for the line that says a process serves; shows its log when it does not come.
await_ready() {
    for _ in $(seq 1200); do
        grep -q '^ready ' "$STATE/$1.out" 2>/dev/null && return 0
        kill -0 "$(cat "$STATE/$1.pid")" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 5 "$STATE/$1.log" >&2
    return 1
}

step "Server on https://$SERVER:$API"
hint "see $STATE/server.log; ports $API/tcp and $LINK/udp must be free"
"$PINTLE" server --data-dir "$STATE/server" --listen "$SERVER:$API" \
    --node-listen "$SERVER:$LINK" --kubeconfig "$STATE/kubeconfig" \
    > "$STATE/server.out" 2> "$STATE/server.log" & echo $! > "$STATE/server.pid"
await_ready server
cat "$STATE/server.out"

step "An image from busybox, imported into each node"
hint "busybox must be installed (apt-get install busybox-static)"
docs/examples/image.sh "$STATE/web.tar"
for node in "${NODES[@]}"; do
    "$PINTLE" image --data-dir "$STATE/$node" import "$STATE/web.tar"
done

step "Two nodes join over QUIC, each with a token of its own"
hint "see $STATE/node-*.log"
for node in "${NODES[@]}"; do
    token=$("$PINTLE" token create)
    # nsenter, not `ip netns exec`: that one would hide /sys/fs/cgroup.
    nsenter --net="/run/netns/$(netns "$node")" "$PINTLE" agent --data-dir "$STATE/$node" \
        --node-name "$node" --server "$SERVER:$LINK" --join "$token" \
        > "$STATE/$node.out" 2> "$STATE/$node.log" & echo $! > "$STATE/$node.pid"
done
for node in "${NODES[@]}"; do await_ready "$node"; done
# A watch ends when its reader does. (Not awk: some versions wait for a full buffer.)
timeout 30 "$PINTLE" get nodes -w | {
    ready=" "
    while read -r name status _; do
        [ "$status" != Ready ] || ready="${ready/ $name / }$name "
        [ "$(wc -w <<< "$ready")" -lt ${#NODES[@]} ] || exit 0
    done
    exit 1
}
"$PINTLE" get nodes -o wide

# Follows a Deployment until that many of its pods are ready.
await_ready_pods() {
    timeout 90 "$PINTLE" get deployments -w | {
        last=""
        while read -r name ready _; do
            [ "$name" = "$1" ] || continue
            [ "$ready" = "$last" ] || printf '  %s %s ready\n' "$name" "$ready"
            last=$ready
            [ "$ready" != "$2/$2" ] || exit 0
        done
        exit 1
    }
}

step "kubectl apply -f docs/examples/web.yaml (here: pintle apply)"
hint "pintle get pods -o wide, and the Events: pintle get events"
"$PINTLE" apply -f docs/examples/web.yaml
await_ready_pods web 4
"$PINTLE" get pods -o wide

pod_on() { "$PINTLE" get pods -l app=web --field-selector "spec.nodeName=$1" -o name | head -n 1 | cut -d/ -f2; }
ip_of() { "$PINTLE" get pod "$1" -o wide | awk 'NR == 2 { print $6 }'; }

step "Each node's pod fetches a page from a pod on the other node"
hint "the host routes on both nodes: ip -n ptdemo-node-a route"
a=$(pod_on node-a) b=$(pod_on node-b)
printf '  from %s: ' "$a"; "$PINTLE" exec "$a" -- wget -qO- "http://$(ip_of "$b"):8080/"
printf '  from %s: ' "$b"; "$PINTLE" exec "$b" -- wget -qO- "http://$(ip_of "$a"):8080/"

step "Killing the container of $a"
hint "pintle logs --previous $a"
uid=$("$PINTLE" get pod "$a" -o json | sed -n 's/^    "uid": "\(.*\)".*/\1/p' | head -n 1)
victim=$(grep -ls "pod$uid" /proc/[0-9]*/cgroup | sed 's|/proc/\([0-9]*\)/.*|\1|' | while read -r pid; do
    tr '\0' ' ' < "/proc/$pid/cmdline" 2>/dev/null | grep -q '^httpd' && echo "$pid" && break; done)
kill -9 "$victim"
timeout 60 "$PINTLE" get pods -w --field-selector "metadata.name=$a" | {
    while read -r name ready status restarts more; do
        [ "$name" != NAME ] || continue
        echo "  $name $ready $status, $restarts restarts $more"
        [ "$ready/$status" != 1/1/Running ] || [ "$restarts" -lt 1 ] || exit 0
    done
    exit 1
}

step "Swapping the scheduler while a second Deployment grows from 0 to 20"
hint "pintle plugin get scheduler"
"$PINTLE" apply -f docs/examples/batch.yaml
sed 's/replicas: 0/replicas: 20/' docs/examples/batch.yaml | "$PINTLE" apply -f -
"$PINTLE" plugin swap scheduler "$PWD/target/guests/variants/scheduler-most-allocated.wasm"
await_ready_pods batch 20
"$PINTLE" get plugins

step "Done. The cluster goes on running."
cat <<END
  kubectl:  export KUBECONFIG=$STATE/kubeconfig
            kubectl get pods -A -o wide
            kubectl scale deployment web --replicas 8
            kubectl exec -it $b -- sh
  without:  export PINTLE_KUBECONFIG=$STATE/kubeconfig
            $PINTLE get pods
  back to the built-in scheduler:  $PINTLE plugin swap scheduler --embedded
  stop:     make demo-stop
END
