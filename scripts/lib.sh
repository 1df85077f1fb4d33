# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Common to all scripts here; sourced, never run.
#
# Exit codes that mean something (everything else that is not 0 is "failed"):
#   70 the VM does not boot     71 oops or panic     72 hang            73 the VM vanished
#   74 no disk space            75 no network        76 kernel warning in the log
#   77 not in the cache

set -Eeuo pipefail
export LC_ALL=C
# No silent death of a script.
trap 'say "failed: ${BASH_SOURCE[0]##*/} line $LINENO: $BASH_COMMAND"' ERR

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# With all links resolved: the same path is used inside of chroots.
CACHE=$(realpath -m "${SAFELOOP_CACHE:-$HOME/.cache/safeloop}")
PROG=${0##*/}
# shellcheck disable=SC2034  # used by the scripts that source this file
RC_NOBOOT=70 RC_OOPS=71 RC_HANG=72 RC_VANISHED=73 RC_NOSPACE=74 RC_NONET=75 RC_WARN=76 RC_ABSENT=77

say()  { printf '%s\n' "$PROG: $*" >&2; }
die()  { say "$*"; exit 1; }
die_with() { local rc=$1; shift; say "$*"; exit "$rc"; }

# usage: print the comment block at the head of the calling script.
usage() { sed -n '3,/^[^#]/s/^# \{0,1\}//p' "$0"; }

# FAIL='what it means' FAIL_RC=N step TEXT COMMAND...: say what is done and how long it took; end the
# script if it fails. COMMAND runs in a subshell (in a process group of its own, so that it can be
# ended as a whole) with 'set -e' in force, which a function called in a condition does not have:
# never call step, or a function that uses it, in a condition.
STEP_PID=
step() {
	local text=$1 t0=$SECONDS rc=0 monitor=+m
	shift
	say "$text ..."
	[[ $- != *m* ]] || monitor=-m
	set -m
	(set +m; trap - EXIT HUP INT TERM; set -e; "$@") </dev/null &
	STEP_PID=$!
	set "$monitor"
	wait "$STEP_PID" || rc=$?
	STEP_PID=
	if [[ $rc -ne 0 ]]; then
		say "$text: FAILED after $((SECONDS - t0)) s${FAIL:+: $FAIL}"
		exit "${FAIL_RC:-$rc}"
	fi
	say "$text: done in $((SECONDS - t0)) s"
}

# child COMMAND...: COMMAND, waited for in a way that a signal does not have to wait for it, and ended
# with the script.
CHILD_PID=
child() {
	local rc=0
	"$@" </dev/null &
	CHILD_PID=$!
	wait "$CHILD_PID" || rc=$?
	CHILD_PID=
	return "$rc"
}

# need_space MiB: stop here rather than in the middle of something.
need_space() {
	local have
	mkdir -p "$CACHE" || die_with "$RC_NOSPACE" "cannot create the cache $CACHE"
	have=$(df -Pm "$CACHE" | awk 'NR == 2 { print $4 }')
	[[ $have -ge $1 ]] ||
		die_with "$RC_NOSPACE" "no disk space: $CACHE has $have MiB free, $1 MiB are needed (SAFELOOP_CACHE=dir moves the cache)"
}

# lock NAME: one process at a time does NAME; held until the script ends. Children started in the
# background must close it with {LOCK_FD}>&- if they may outlive the script.
lock() {
	mkdir -p "$CACHE/lock"
	exec {LOCK_FD}>"$CACHE/lock/$1"
	if ! flock -n "$LOCK_FD"; then
		say "waiting for another run that holds '$1'"
		flock "$LOCK_FD"
	fi
}
unlock() { exec {LOCK_FD}>&-; }

# tmpdir: a directory inside the cache that goes away with the script, whatever ends it.
TMP=
_cleanup() {
	[[ -z $STEP_PID ]] || kill -- "-$STEP_PID" 2>/dev/null || :
	[[ -z $CHILD_PID ]] || { kill "$CHILD_PID" 2>/dev/null && wait "$CHILD_PID"; } || :
	[[ -z $TMP ]] || rm -rf --one-file-system "$TMP"
}
trap _cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
tmpdir() {
	mkdir -p "$CACHE/tmp"
	# What a killed run left behind: its process is gone.
	local d
	for d in "$CACHE"/tmp/*.[0-9]*; do
		[[ -d $d && ! -d /proc/${d##*.} ]] && rm -rf --one-file-system "$d"
	done
	TMP=$CACHE/tmp/$PROG.$$
	rm -rf "$TMP"
	mkdir "$TMP"
}

# The kernels of tests/kernels, and those of tests/kernels-debug, which take part only if named.
kernels() { awk '!/^#/ && NF { print $1 }' "$TOP/tests/kernels"; }
debug_kernels() { awk '!/^#/ && NF { print $1 }' "$TOP/tests/kernels-debug"; }
is_debug_kernel() { [[ " $(debug_kernels | tr '\n' ' ')" == *" $1 "* ]]; }
kernel_field() {
	local v
	v=$(awk -v k="$1" -v f="$2" '!/^#/ && $1 == k { print $f }' "$TOP"/tests/kernels{,-debug})
	[[ -n $v ]] || die "unknown kernel '$1'; tests/kernels has: $(kernels | tr '\n' ' ')"
	printf '%s\n' "$v"
}
kernel_suite() { kernel_field "$1" 2; }
kernel_gcc()   { kernel_field "$1" 3; }

# younger_than_a_day FILE
younger_than_a_day() { [[ -n $(find "$1" -mmin -1440 2>/dev/null) ]]; }

# --- private apt configurations: the machine's mirrors, other suites -------------------------

# mirror LABEL: the URI from which the machine itself takes the archive with this label.
mirror() {
	apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
		awk -F'|' -v l="$1" '$1 == "Debian" && $2 == l { print $3; exit }'
}

# sources SUITE: the lines of a sources.list for that suite and what belongs to it.
sources() {
	local main security keys=/usr/share/keyrings/debian-archive-keyring.gpg
	main=$(mirror Debian)
	security=$(mirror Debian-Security)
	[[ -n $main ]] || die "this machine's apt configuration names no Debian mirror (or 'apt-get update' never succeeded)"
	printf 'deb [arch=amd64 signed-by=%s] %s %s main\n' "$keys" "$main" "$1"
	case $1 in
	sid | *-*) ;;
	*)
		if [[ -n $security ]]; then
			printf 'deb [arch=amd64 signed-by=%s] %s %s-security main\n' "$keys" "$security" "$1"
		else
			say "no security archive in this machine's apt configuration: $1's newest point releases may be missed"
		fi ;;
	esac
}

# apt_suite SUITE: sets the array APT, the options of a private configuration for that suite alone.
APT=()
apt_suite() {
	local dir=$CACHE/apt/$1
	APT=(-o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=-
		-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=-
		-o Dir::State::Lists="$dir/lists" -o Dir::State::status=/dev/null
		-o Dir::Cache="$dir/cache" -o APT::Sandbox::User=root
		-o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o Acquire::Retries=3)
}

# update_suite SUITE: brings its package lists up to date; false if that is not possible.
update_suite() {
	local dir=$CACHE/apt/$1
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" || return 1
	sources "$1" >"$dir/sources.list.new" || return 1
	mv "$dir/sources.list.new" "$dir/sources.list" || return 1
	apt_suite "$1"
	apt-get "${APT[@]}" -q update --error-on=any >"$dir/update.log" 2>&1
}

# debian_tree SUITE PACKAGES DIR: unpacks them with what they depend on; no package script is run.
debian_tree() {
	local conf=$CACHE/apt/mmdebstrap.conf
	mkdir -p "$CACHE/apt"
	# Proxies and the like of this machine; the trees are younger than the Release file of sid may be.
	apt-config dump | grep -E '^Acquire::(http|https|ftp|Retries)' >"$conf" || :
	printf '%s\n' 'Acquire::Check-Valid-Until "false";' 'Acquire::Languages "none";' >>"$conf"
	sources "$1" | mmdebstrap --variant=extract --mode=root --include="$2" --aptopt="$conf" \
		"$1" "$3" -
	rm -rf "$3"/usr/share/{man,locale,info} "$3"/usr/share/doc/*/changelog* "$3"/var/cache/apt/*
}

# --- the compiler chroot ---------------------------------------------------------------------

# in_chroot ROOTS [BIND=TARGET...] -- COMMAND...: run COMMAND in the overlay of ROOTS (a:b, the left
# one on top), with everything it writes outside of the bind mounts thrown away afterwards.
# In a mount namespace of its own: nothing is left mounted, however it ends. With CHROOT_EXEC=exec the
# shell that calls it becomes COMMAND.
in_chroot() {
	local roots=$1 binds=()
	shift
	while [[ $1 != -- ]]; do binds+=("$1"); shift; done
	shift
	mkdir -p "$CACHE/mnt"
	# shellcheck disable=SC2016  # expanded by the inner shell
	${CHROOT_EXEC:-} unshare --mount --propagation private bash -c '
		set -e
		mnt=$1 roots=$2 n=$3
		shift 3
		mount -t tmpfs -o mode=755 tmpfs "$mnt"
		mkdir "$mnt/up" "$mnt/work" "$mnt/root"
		mount -t overlay overlay -o "lowerdir=$roots,upperdir=$mnt/up,workdir=$mnt/work" "$mnt/root"
		mnt=$mnt/root
		mkdir -p "$mnt/proc" "$mnt/dev" "$mnt/tmp"
		mount -t proc proc "$mnt/proc"
		mount --rbind /dev "$mnt/dev"
		mount -t tmpfs tmpfs "$mnt/tmp"
		while [ "$n" -gt 0 ]; do
			if [ -d "${1%%=*}" ]; then
				mkdir -p "$mnt/${1#*=}"
			else
				mkdir -p "$(dirname "$mnt/${1#*=}")"
				: >>"$mnt/${1#*=}"
			fi
			mount --bind "${1%%=*}" "$mnt/${1#*=}"
			shift; n=$((n - 1))
		done
		exec chroot "$mnt" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C "$@"
	' in_chroot "$CACHE/mnt" "$roots" "${#binds[@]}" "${binds[@]}" "$@"
}
