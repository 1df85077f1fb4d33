# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What every test in the guest begins with: TAP, devices, and what the tests share.
#
# A test is run with SL_MODE (replace or coexist), SL_KO, SL_NAME (loop or loops),
# SL_CTL, SL_HELPERS, T (an empty tmpfs, also the current directory), SCRATCH and
# SCRATCH2 (empty disks) and KERNEL in the environment. With SL_KO=in-tree it talks to
# the in-tree driver instead: a way to find out what that one does.
set -u

: "${SL_MODE:?}" "${SL_HELPERS:?}" "${T:?}"
SL_INTREE=$([[ ${SL_KO:-} == in-tree ]] && echo 1 || echo 0)
if [[ $SL_MODE == replace ]]; then
	: "${SL_NAME:=loop}" "${SL_CTL:=/dev/loop-control}"
else
	: "${SL_NAME:=loops}" "${SL_CTL:=/dev/safeloop-control}"
fi
MODULE=safeloop
((SL_INTREE)) && MODULE=loop
export LC_ALL=C
PATH=/usr/sbin:/sbin:$PATH
STATS=/sys/kernel/debug/safeloop/stats
export LO_RO=1 LO_AUTOCLEAR=4 LO_PARTSCAN=8 LO_DIO=16
export K=1024 M=1048576

# --- TAP -------------------------------------------------------------------

tap_count=0
tap_failed=0
tap_done=0

diag() {
	printf '%s\n' "$*" | sed 's/^/# /'
}

tap() { # STATUS DESCRIPTION
	tap_count=$((tap_count + 1))
	if (($1 == 0)); then
		printf 'ok %d - %s\n' "$tap_count" "$2"
	else
		tap_failed=$((tap_failed + 1))
		printf 'not ok %d - %s\n' "$tap_count" "$2"
	fi
	return "$1"
}

ok() { # DESCRIPTION COMMAND...: the command succeeds
	local desc=$1 out rc
	shift
	out=$("$@" 2>&1)
	rc=$?
	tap "$rc" "$desc" || diag "$* => $rc${out:+$'\n'$out}"
}

fails() { # DESCRIPTION COMMAND...: the command fails (but is not killed)
	local desc=$1 out rc
	shift
	out=$("$@" 2>&1)
	rc=$?
	tap $((rc > 0 && rc < 126 ? 0 : 1)) "$desc" || diag "$* => $rc${out:+$'\n'$out}"
}

is() { # GOT WANTED DESCRIPTION
	[[ $1 == "$2" ]]
	tap $? "$3" || diag "got '$1', wanted '$2'"
}

isnt() { # GOT UNWANTED DESCRIPTION
	[[ $1 != "$2" ]]
	tap $? "$3" || diag "got '$1'"
}

like() { # GOT EXTENDED-REGEX DESCRIPTION
	[[ $1 =~ $2 ]]
	tap $? "$3" || diag "got '$1', wanted a match of '$2'"
}

at_least() { # GOT WANTED DESCRIPTION
	[[ $1 =~ ^[0-9]+$ ]] && (($1 >= $2))
	tap $? "$3" || diag "got '$1', wanted at least $2"
}

skip_all() { # REASON: nothing here can be tried on this kernel
	printf '1..0 # SKIP %s\n' "$*"
	tap_done=1
	exit 0
}

fatal() { # MESSAGE: going on makes no sense
	tap 1 "$*"
	exit 1
}

must() { # COMMAND...: a step the test stands on
	local out rc
	out=$("$@" 2>&1)
	rc=$?
	((rc == 0)) || fatal "$* => $rc${out:+: ${out//$'\n'/; }}"
}

done_testing() {
	local d
	for d in "${bound_here[@]}"; do
		wait_unbound "$d" || tap 1 "$d is unbound at the end"
	done
	printf '1..%d\n' "$tap_count"
	tap_done=1
	exit $((tap_failed > 0))
}

# --- the end of a test -----------------------------------------------------

udev_paused=0
reloaded=0
bound_here=()
last_words=()

at_end() { # COMMAND: evaluated when the test is over, however it ends
	last_words+=("$1")
}

finish() {
	local rc=$? mnt d pid
	trap - EXIT
	((tap_done)) || {
		tap 1 "the test reached its end"
		printf '1..%d\n' "$tap_count"
		rc=1
	}
	for pid in $(jobs -p); do
		kill -9 "$pid" 2>/dev/null
	done
	wait
	((udev_paused)) && udev_resume
	cd /
	while read -r mnt; do
		fsfreeze -u "$mnt" 2>/dev/null
		umount "$mnt" 2>/dev/null || umount -l "$mnt"
	done < <(awk -v t="$T/" 'index($2, t) == 1 { print $2 }' /proc/mounts | tac)
	for d in "${bound_here[@]}"; do
		[[ -d /sys/block/${d#/dev/}/loop ]] && losetup -d "$d"
	done
	for d in "${last_words[@]}"; do
		eval "$d"
	done
	((reloaded)) && restore_module
	exit "$rc"
}
trap finish EXIT
trap 'exit 143' TERM INT

# --- devices ---------------------------------------------------------------

lo() {
	"$SL_HELPERS/lo" "$@"
}

lo32() {
	"$SL_HELPERS/lo32" "$@"
}

settle() {
	((udev_paused)) && return
	udevadm settle --timeout=30
}

# udev opens every device that changes, whenever it gets to it. A test that counts
# openers, or wants something "at once", keeps it away.
udev_pause() {
	settle
	# shellcheck disable=SC2046
	must kill -STOP $(pgrep -x systemd-udevd)
	udev_paused=1
}

udev_resume() {
	# shellcheck disable=SC2046
	must kill -CONT $(pgrep -x systemd-udevd)
	udev_paused=0
	settle
}

# Sets dev: a device that is not bound. bound_here knows it from now on.
new_dev() {
	local n
	n=$(lo open "$SL_CTL" rw , get_free)
	[[ $n =~ ^ok\ [0-9]+$ ]] || fatal "LOOP_CTL_GET_FREE on $SL_CTL: $n"
	dev=/dev/$SL_NAME${n#ok }
	bound_here+=("$dev")
}

# Sets dev: a device nobody has ever used. It is removed when the test is over.
fresh_dev() {
	local n
	n=$(lo open "$SL_CTL" rw , add -1)
	[[ $n =~ ^ok\ [0-9]+$ ]] || fatal "LOOP_CTL_ADD on $SL_CTL: $n"
	dev=/dev/$SL_NAME${n#ok }
	bound_here+=("$dev")
	at_end "remove_dev $dev"
}

remove_dev() { # DEVICE: udev may look at it now and then
	local i
	for ((i = 0; i < 50; i++)); do
		settle
		[[ $(lo open "$SL_CTL" rw , remove "${1##*[a-z]}") == "ok 0" ]] && return
		sleep 0.1
	done
	return 1
}

attach() { # FILE [losetup options]: sets dev
	local file=$1
	shift
	new_dev
	must losetup "$@" "$dev" "$file"
}

bound() { # DEVICE
	[[ -d /sys/block/${1#/dev/}/loop ]]
}

unbound() { # DEVICE
	! bound "$1"
}

# udev may be the last to close a device: unbound soon, not at once.
wait_unbound() { # DEVICE
	local i
	for ((i = 0; i < 200; i++)); do
		bound "$1" || return 0
		sleep 0.05
	done
	return 1
}

# With udev done with it, losetup is the last to close it: what the file held is free when this
# returns. (sysfs says unbound a moment before the file is let go, so waiting would not do.)
detach() { # DEVICE
	settle
	must losetup -d "$1"
	wait_unbound "$1" || fatal "$1 is still bound 10 s after losetup -d"
}

queue() { # DEVICE ATTRIBUTE
	cat "/sys/block/${1#/dev/}/queue/$2"
}

attr() { # DEVICE ATTRIBUTE of the loop/ group
	cat "/sys/block/${1#/dev/}/loop/$2"
}

diskseq() { # DEVICE
	cat "/sys/block/${1#/dev/}/diskseq"
}

sectors() { # DEVICE
	cat "/sys/block/${1#/dev/}/size"
}

late_io() { # DEVICE
	((SL_INTREE)) && { echo 0; return; }
	cat "/sys/block/${1#/dev/}/safeloop/late_io"
}

counter() { # NAME: one of the driver's counters
	awk -v n="$1" '$1 == n { print $2 }' "$STATS"
}

# --- the module ------------------------------------------------------------

remove_module() {
	local i
	for ((i = 0; i < 50; i++)); do
		settle
		rmmod "$MODULE" 2>/dev/null && return
		sleep 0.1
	done
	fatal "the module cannot be removed"
}

insert_module() { # [PARAMETER...]
	reloaded=1
	if ((SL_INTREE)); then
		modprobe loop "$@"
	else
		insmod "$SL_KO" "mode=$SL_MODE" "$@"
	fi
}

module_loaded() {
	[[ -d /sys/module/$MODULE ]]
}

reload_module() { # PARAMETER...
	! module_loaded || remove_module
	must insert_module "$@"
	settle
}

restore_module() { # as it was before the test
	! module_loaded || remove_module
	must insert_module
	reloaded=0
	settle
}

# --- files and filesystems -------------------------------------------------

filled() { # FILE SIZE BYTE
	must truncate -s "$2" "$1"
	is_ok "$(lo open "$1" rw , pwrite 0 "$2" "$3")" || fatal "cannot fill $1"
}

is_ok() { # WORDS of lo: all of them ok
	[[ $1 =~ ^ok(\ ok)*$ ]]
}

allocated() { # FILE: bytes
	echo $(($(stat -c '%b * %B' "$1")))
}

# A filesystem on the scratch disk at $T/low. Small: making it is most of the time.
low_fs() { # TYPE
	local size=640
	mkdir -p "$T/low"
	case $1 in
	ext4) must mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 "$SCRATCH" ${size}M ;;
	xfs) must mkfs.xfs -q -f -d size=${size}m "$SCRATCH" ;;
	btrfs) must mkfs.btrfs -q -f -b ${size}M "$SCRATCH" ;;
	*) fatal "low_fs $1" ;;
	esac
	must mount -t "$1" "$SCRATCH" "$T/low"
}

# Writes with a checksum in every block and reads them back: small and large, in
# sequence and at random, several in flight. Stops at the first bad block.
fio_verify() { # DEVICE [fio options]
	local target=$1
	shift
	fio --filename="$target" --direct=1 --ioengine=libaio --size=2M \
		--verify=crc32c --verify_fatal=1 --verify_backlog=0 --randseed=7 \
		--group_reporting --minimal "$@" \
		--name=small --rw=randwrite --bsrange=4k-64k --iodepth=16 --offset=0 \
		--name=large --rw=write --bs=1M --iodepth=4 --offset=8M --size=4M
}

# The name and checksum of every file below a directory.
sums() { # DIR
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
}

# mkfs, files, umount, detach, attach, the same files, the checker is content.
fs_cycle() { # TYPE SIZE MKFS-COMMAND CHECK-COMMAND: the device is put at the end
	local type=$1 size=$2 mkfs=$3 check=$4 before after i
	must truncate -s "$size" image
	mkdir -p m
	attach image
	must eval "$mkfs $dev"
	must mount -t "$type" "$dev" m
	must cp -r "$SL_HELPERS" m/tree
	must dd if=/dev/urandom of=m/random bs=64k count=32 status=none
	for i in {1..60}; do
		echo "$i" >"m/file$i" || fatal "cannot write m/file$i"
	done
	must rm m/file7
	before=$(sums m)
	must umount m
	detach "$dev"
	is "$(late_io "$dev")" 0 "no request came late"
	attach image
	ok "$type is mounted again" mount -t "$type" "$dev" m
	after=$(sums m)
	is "$(wc -l <<<"$after")" "$(wc -l <<<"$before")" "as many files as were written"
	is "$after" "$before" "every checksum is right"
	must umount m
	ok "the checker finds nothing" eval "$check $dev"
	detach "$dev"
	is "$(late_io "$dev")" 0 "no request came late"
}

# --- uevents ---------------------------------------------------------------

watch_uevents() { # DEVICE
	local i
	rm -f "$T/uevents.ready"
	"$SL_HELPERS/uevents" "${1#/dev/}" "$T/uevents" "$T/uevents.ready" &
	uevents_pid=$!
	for ((i = 0; i < 500; i++)); do
		[[ -e $T/uevents.ready ]] && return
		sleep 0.01
	done
	fatal "the uevent listener does not start"
}

# After it, $T/uevents has one line per event.
end_uevents() {
	kill "$uevents_pid"
	wait "$uevents_pid"
}

# How many of the kernel's own events on a disk (not on a partition) match.
count_uevents() { # DEVICE EXTENDED-REGEX
	grep -E "DEVTYPE=disk" "$T/uevents" | grep -E "DEVNAME=${1#/dev/}( |\$)" |
		grep -c -E "$2"
}
