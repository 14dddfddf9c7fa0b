#!/bin/sh
# Starts a Docker daemon where none answers, for docker.test.ts. Needs root, and docker.io.
set -eu
docker version >/dev/null 2>&1 && exit 0
command -v dockerd >/dev/null || { echo 'dockerd is missing: apt-get install docker.io' >&2; exit 1; }
log=${TMPDIR:-/tmp}/dockerd.log
# The second time for a kernel without overlay mounts or netfilter.
for options in '' '--storage-driver=vfs --iptables=false'; do
  # shellcheck disable=SC2086 # several words
  nohup dockerd $options >"$log" 2>&1 &
  daemon=$!
  for _ in $(seq 60); do
    docker version >/dev/null 2>&1 && exit 0
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.5
  done
  kill "$daemon" 2>/dev/null || true
  wait "$daemon" || true
done
tail -n 20 "$log" >&2
exit 1
