# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What every test in the guest begins with: TAP, devices, and what the tests share.
#
# A test is run with SL_MODE (replace or coexist), SL_KO, SL_NAME (loop or loops),
# SL_CTL, SL_HELPERS, T (an empty tmpfs, also the current directory), SCRATCH and
# SCRATCH2 (empty disks) and KERNEL in the environment. With SL_KO=in-tree it talks to
# the in-tree driver instead: a way to find out what that one does.
# SL_SLOW is 1; on a debug kernel how many times longer everything takes. Long loops are
# divided by it.
set -u

: "${SL_MODE:?}" "${SL_HELPERS:?}" "${T:?}" "${SL_SLOW:=1}"
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
# dmsetup makes its nodes itself: it would wait for a udev that a test has stopped.
export DM_DISABLE_UDEV=1

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

finishing=0
reloaded=0
bound_here=()
declare -A late_before=()
last_words=()

at_end() { # COMMAND: evaluated when the test is over, however it ends
	last_words+=("$1")
}

finish() {
	local rc=$? mnt d pid
	trap - EXIT
	finishing=1
	((tap_done)) || {
		tap 1 "the test reached its end"
		printf '1..%d\n' "$tap_count"
		rc=1
	}
	for pid in $(jobs -p); do
		kill -9 "$pid" 2>/dev/null
	done
	wait
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

# Waits until udev is done with the events so far, in a test that has "udev: yes" at its head.
settle() {
	((SL_UDEV == 0)) || udevadm settle --timeout=30
}

# Sets dev: a device that is not bound. bound_here knows it from now on.
new_dev() {
	local n
	n=$(lo open "$SL_CTL" rw , get_free)
	[[ $n =~ ^ok\ [0-9]+$ ]] || fatal "LOOP_CTL_GET_FREE on $SL_CTL: $n"
	dev=/dev/$SL_NAME${n#ok }
	bound_here+=("$dev")
	late_before[$dev]=0
	late_before[$dev]=$(late_io "$dev")
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

late_io() { # DEVICE: requests that came late since this test took it
	local n
	((SL_INTREE)) && { echo 0; return; }
	read -r n <"/sys/block/${1#/dev/}/safeloop/late_io"
	echo $((n - ${late_before[$1]:-0}))
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

# For tests that load the in-tree driver and this one in turn. Whatever was loaded is removed.
unload_drivers() {
	local m i
	for m in safeloop loop; do
		for ((i = 0; i < 50; i++)); do
			[[ -d /sys/module/$m ]] || break
			settle
			rmmod "$m" 2>/dev/null || sleep 0.1
		done
		[[ -d /sys/module/$m ]] || continue
		((!finishing)) || { echo "$m cannot be removed" >&2; return 1; }
		fatal "$m cannot be removed"
	done
}

# Sets ctl and prefix.
load_driver() { # in-tree | replace | coexist [PARAMETER...]
	local driver=$1
	shift
	# At the end of the test there is the one driver that the other tests expect.
	((reloaded)) || at_end '((reloaded == 0)) || unload_drivers'
	reloaded=1
	unload_drivers
	ctl=/dev/loop-control prefix=loop
	case $driver in
	in-tree) must modprobe loop "$@" ;;
	replace) must insmod "$SL_KO" mode=replace "$@" ;;
	coexist)
		ctl=/dev/safeloop-control prefix=loops
		must modprobe loop
		must insmod "$SL_KO" mode=coexist "$@"
		;;
	*) fatal "load_driver $driver" ;;
	esac
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

# slow_disk DISK SECTORS MSEC: sets slow, a device mapper device that delays writes and reads.
slow_disk() {
	must dmsetup create slow --table "0 $2 delay $1 0 $3"
	slow=/dev/mapper/slow
	at_end '[[ ! -e /dev/mapper/slow ]] || dmsetup remove --retry slow'
}

# null_disk MSEC: sets null, a disk in memory that takes so long for every request. 256 MiB.
null_disk() {
	must modprobe null_blk nr_devices=1 gb=1 memory_backed=1 irqmode=2 \
		"completion_nsec=$(($1 * 1000000))" submit_queues=2 hw_queue_depth=128
	null=/dev/nullb0
	at_end 'rmmod null_blk'
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

# --- requests that nobody waits for ------------------------------------------

STRAY_CLOSES=0
STRAY_REQUESTS=0

# Loads tests/kmod/strayio.c, whose first comment says what words it takes.
stray_load() {
	must insmod /payload/strayio.ko
	at_end stray_unload
}

# What is left of the last run may be on its way out still.
stray_unload() {
	local i
	for ((i = 0; i < 100; i++)); do
		rmmod strayio 2>/dev/null && return
		sleep 0.1
	done
	echo "strayio cannot be removed" >&2
	return 1
}

stray_slow() { # SYMBOL USEC | off
	printf 'slow %s' "$*" >/dev/strayio || fatal "cannot slow down $*"
}

# Opening the device to see how far its detach has come would be in the way of it.
# Runs COMMAND, then waits until one more detach has found I/O in flight.
until_stray() { # COMMAND
	local before i
	if ((SL_INTREE)); then
		eval "$1"
		sleep 1
		return
	fi
	before=$(counter detach_stray)
	eval "$1"
	for ((i = 0; i < 400; i++)); do
		(($(counter detach_stray) > before)) && return
		sleep 0.05
	done
	fatal "no detach with I/O in flight"
}

# ROUNDS times: bind dev to FILE, close it with I/O in flight, and look at the file.
# EXPECT is the byte that all of it consists of then, or "@": that of the round.
served() { # DESCRIPTION ROUNDS FILE CONFIGURE-ARGUMENTS EXPECT LENGTH WORD...
	local desc=$1 rounds=$2 file=$3 configure=$4 expect=$5 length=$6 out
	shift 6
	# shellcheck disable=SC2086
	out=$(lo -n "$rounds" open "$dev" rw 0 , configure "$file" $configure , on 1 , \
		stray "dev=$dev" hold=1 "$@" , on 0 , close , on 1 , go , report , close , \
		open "${file#*:}" rw 2 , all "$expect" "$length" , close 2>&1)
	if [[ $out =~ ^(ok\ ){8}([0-9]+)/([0-9]+)/([0-9]+)/0(\ ok){4}$ ]]; then
		STRAY_CLOSES=$((STRAY_CLOSES + BASH_REMATCH[2]))
		STRAY_REQUESTS=$((STRAY_REQUESTS + BASH_REMATCH[3]))
		tap 0 "$desc: ${BASH_REMATCH[4]} served"
	else
		tap 1 "$desc"
		diag "$out"
	fi
}

# The matrix of P1 and P3 on one backing; FILE has at least 256 KiB.
served_matrix() { # ROUNDS FILE CONFIGURE-ARGUMENTS
	local rounds=$1 file=$2 configure=$3 size=$((64 * 4096)) op clr flags variant expect what
	local -A variants=([now]="nr=64" [plug]="nr=16 bs=4096 plug=1" [threads]="nr=32 threads=2 when=first")
	for op in write read fua flush discard zeroes; do
		for clr in 0 1; do
			flags=$configure
			what=LOOP_CLR_FD
			if ((clr == 0)); then
				flags+=" flags=$((LO_AUTOCLEAR + ${SERVED_FLAGS:-0}))"
				what=autoclear
			elif ((${SERVED_FLAGS:-0})); then
				flags+=" flags=$SERVED_FLAGS"
			fi
			for variant in now plug threads; do
				[[ $variant != plug || $op =~ write|read ]] || continue
				case $op in
				write | fua) expect=@ ;;
				read | flush) expect=65 ;;
				*) expect=0 ;;
				esac
				is_ok "$(lo open "${file#*:}" rw , pwrite 0 $size 65)" || fatal "cannot fill $file"
				# shellcheck disable=SC2086,SC2046
				served "$op, $what, $variant" "$rounds" "$file" "$flags" "$expect" \
					$([[ $variant == plug ]] && echo 65536 || echo $size) \
					"op=$op" "clr=$clr" $([[ $expect == @ ]] && echo byte=@) ${variants[$variant]}
			done
		done
	done
}

# Mounts and unmounts on a file on a slow disk, the unmount being the last close, with discards
# and a sync in between; the filesystem below is unmounted right after it. Then once more with
# all that is dirty still to be written when the unmount begins, on a disk that got slower.
storm() { # TYPE SIZE MKFS-COMMAND CHECK-COMMAND
	local type=$1 size=$2 mkfs=$3 check=$4 round
	must mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 "$SCRATCH" 640M
	mkdir low m
	must mount -t ext4 "$SCRATCH" low
	must truncate -s "$size" low/image
	attach low/image
	must eval "$mkfs $dev"
	must mount -t "$type" "$dev" m
	filled m/file $M 1
	filled m/other $M 1
	must umount m
	detach "$dev"
	must umount low
	slow_disk "$SCRATCH" $((640 * 2048)) 3
	round=(mount "$slow" low ext4 ',' open "$dev" rw ',' configure low/image flags="$LO_AUTOCLEAR" ','
		mount "$dev" m "$type" discard ',' close ',' open m/file rw ',' pwrite 0 "$M" @ ',' fsync ',' close ','
		open m/other rw ',' truncate 0 ',' pwrite 0 "$M" @ ',' close ',' umount m ',' umount low)
	is "$(lo -n 4 "${round[@]}")" "ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok" "4 rounds on a disk that takes 3 ms"
	ok "unbound" unbound "$dev"
	must mount "$slow" low
	# Buffered below: what the unmount writes is in the page cache there. Direct: it is on the disk.
	is "$(lo open "$dev" rw , configure low/image flags=$((LO_AUTOCLEAR + LO_DIO)) , mount "$dev" m "$type" , close , \
		open m/file rw , pwrite 0 $M 99 , close , open m/other rw , pwrite 0 $M 99 , close)" \
		"ok ok ok ok ok ok ok ok ok ok" "dirty"
	must dmsetup suspend --noflush --nolockfs slow
	must dmsetup load slow --table "0 $((640 * 2048)) delay $SCRATCH 0 40"
	must dmsetup resume slow
	is "$(lo umount m , umount low)" "ok ok" "unmounted, and then below, while the disk takes 40 ms"
	is "$(late_io "$dev")" 0 "no request came late"
	must dmsetup remove --retry slow
	must mount -t ext4 "$SCRATCH" low
	attach low/image
	must mount -t "$type" -o ro "$dev" m
	is "$(lo open m/file r , all 99 $M , open m/other r , all 99 $M)" "ok ok ok ok" "every byte is there"
	must umount m
	ok "the checker finds nothing" eval "$check $dev"
	detach "$dev"
	must umount low
}

stray_summary() {
	diag "closes with I/O in flight: $STRAY_CLOSES, requests in flight then: $STRAY_REQUESTS"
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

# --- a file that does not answer ------------------------------------------------

# stall [OPTIONS]: sets fuse, the server of m/file, which is the file "real"; see tests/helpers/stallfs.c.
# Who has looked it up once and closed it once needs no answer for opening and closing it.
stall() {
	must modprobe fuse
	mkdir m
	"$SL_HELPERS/stallfs" "$T/real" "$T/gate" "$T/m" "${1:-allow_other},attr_timeout=0,entry_timeout=3600" &
	fuse=$!
	at_end "kill -CONT $fuse 2>/dev/null; rm -f $T/gate*; umount $T/m 2>/dev/null"
	is "$(lo wait m/file , open m/file rw , pwrite 0 1 1 , close)" "ok ok ok ok" "the FUSE filesystem is there"
}

# in_time DESCRIPTION COMMAND...: within ten seconds; whoever does not come back is left behind.
in_time() {
	local desc=$1 i
	shift
	rm -f in_time.done
	("$@" >in_time.out 2>&1; echo $? >in_time.tmp; mv in_time.tmp in_time.done) &
	for ((i = 0; i < 100 * SL_SLOW; i++)); do
		[[ ! -e in_time.done ]] || break
		sleep 0.1
	done
	if [[ -e in_time.done ]]; then
		tap "$(<in_time.done)" "$desc" || diag "$(<in_time.out)"
	else
		tap 1 "$desc" || diag "does not come back: $*"
	fi
}

# Is the process gone within ten seconds?
dies() { # PID
	local i
	for ((i = 0; i < 100; i++)); do
		kill -0 "$1" 2>/dev/null || return 0
		# A zombie is gone; only this shell has not asked yet.
		grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null && return 0
		sleep 0.1
	done
	return 1
}
