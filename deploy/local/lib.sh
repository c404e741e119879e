# Shared by the scripts of this folder; sourced, never run.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/lapwing
kafka_version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")

log() { echo "${0##*/}: $*" >&2; }
die() { log "$*"; exit 1; }

# retry runs a command up to three times: downloads fail for a moment now and then.
retry() {
  local try
  for try in 1 2 3; do
    "$@" && return
    [ "$try" = 3 ] || { log "failed, trying again: $*"; sleep $((try * 5)); }
  done
  return 1
}

# lacking prints the packages of the given command=package pairs whose command is not there.
lacking() {
  local pair
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || echo "${pair#*=}"
  done
}

# need installs, as root on Debian and its kin, the packages of missing commands (command=package),
# and elsewhere says what to install.
need() {
  local packages
  packages=$(lacking "$@" | sort -u | tr '\n' ' ')
  [ -n "$packages" ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    die "please install (Debian's names): $packages"
  fi
  install_packages $packages # word splitting is meant: one word a package
}

install_packages() {
  log "apt-get install $*"
  local policy=/usr/sbin/policy-rc.d made='' status=0 out
  out=$(mktemp)
  # Answering 101 keeps a package from starting its service: no system Redis on the default port.
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    made=1
  fi
  { retry apt-get -qq -o DPkg::Lock::Timeout=300 update &&
    DEBIAN_FRONTEND=noninteractive retry apt-get -qq -y -o DPkg::Lock::Timeout=300 \
      install --no-install-recommends "$@"; } >"$out" 2>&1 </dev/null || status=$?
  [ -z "$made" ] || rm -f "$policy"
  if [ "$status" != 0 ]; then
    tail -20 "$out" >&2
    die "apt-get failed to install: $*"
  fi
  rm -f "$out"
}

# jars prints the folder that holds Kafka's jars, which it fetches with Maven at the first call.
jars() {
  local dir=$cache/kafka-$kafka_version parts out
  if [ ! -d "$dir" ]; then
    log "fetching Kafka $kafka_version with Maven (45 MB, kept in $dir)"
    mkdir -p "$cache"
    # Renamed into place only when whole, so that an interrupted download is never taken for one.
    parts=$(mktemp -d "$cache/parts.XXXXXX")
    out=$(mktemp)
    if ! retry mvn -B -q -f "$here/pom.xml" dependency:copy-dependencies \
      -DoutputDirectory="$parts" -DincludeScope=runtime >"$out" 2>&1 </dev/null; then
      tail -20 "$out" >&2
      rm -rf "$parts"
      die "Maven failed to fetch Kafka $kafka_version"
    fi
    rm -f "$out"
    if [ -d "$dir" ]; then rm -rf "$parts"; else mv "$parts" "$dir"; fi # another run may have been faster
  fi
  echo "$dir"
}

# java_tool runs one of Kafka's classes with small memory and a quick start.
java_tool() {
  local dir
  dir=$(jars) || exit 1
  java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -Dlog4j2.configurationFile="$here/log4j2.properties" -Dlapwing.log.level=WARN -cp "$dir/*" "$@"
}

# running tells whether the process of a pid file lives and is what it was: a pid may be given to
# another process in time, so its command line must hold the given text.
running() {
  local pidfile=$1 text=$2 pid
  [ -s "$pidfile" ] || return 1
  pid=$(cat "$pidfile")
  ps -ww -o command= -p "$pid" 2>/dev/null | grep -qF -- "$text"
}

# alive tells whether the process that this very script started still runs.
alive() { kill -0 "$(cat "$1")" 2>/dev/null; }

# start runs a command as a process of its own session, with its output in a file.
start() {
  local pidfile=$1 out=$2 setsid
  shift 2
  setsid=$(command -v setsid || true)
  (exec $setsid nohup "$@" >"$out" 2>&1 </dev/null) &
  echo $! >"$pidfile"
}

# stop ends the process of a pid file, if it is what it was: at first gently, by force after 15 s.
stop() {
  local pidfile=$1 text=$2 pid i
  if running "$pidfile" "$text"; then
    pid=$(cat "$pidfile")
    kill "$pid"
    for ((i = 0; i < 150; i++)); do
      running "$pidfile" "$text" || break
      sleep 0.1
    done
    ! running "$pidfile" "$text" || kill -9 "$pid"
    log "stopped $text (pid $pid)"
  fi
  rm -f "$pidfile"
}

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Where the services of these ports live: pid file, log, configuration and data.
data_dir=${DATA_DIR:-${XDG_STATE_HOME:-${HOME:?}/.local/state}/lapwing}
kafka_port=${KAFKA_PORT:-9092}
redis_port=${REDIS_PORT:-6379}
kafka_dir=$data_dir/kafka-$kafka_port
redis_dir=$data_dir/redis-$redis_port
