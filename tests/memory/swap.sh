# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Swap on a file of the filesystem $fs, with the machine short of memory and a writer beside it.

# What is not locked is soon full.
room=300 over=150 size=384
pswpout() {
	awk '$1 == "pswpout" { print int($2 / 256) }' /proc/vmstat
}
avail() {
	awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo
}

mkfifo hold rest
"$SL_HELPERS/memfill" lock $(($(avail) - room)) <hold >locked &
lock=$!
exec 8>hold
echo -1000 >/proc/$lock/oom_score_adj
is "$(lo wait locked)" ok "locking memory"
until grep -q ready locked; do
	kill -0 $lock 2>/dev/null || fatal "there is no memory to lock"
	sleep 0.1
done

mkdir low
# With a reader gone, a write to its FIFO is no reason to end.
trap '' PIPE

# What it is for a process to be in the group GROUP, if there are groups.
within() { # GROUP COMMAND...
	local group=$1
	shift
	[[ ! -d cg/$group ]] || echo $BASHPID >"cg/$group/cgroup.procs" || exit
	exec "$@"
}

groups_on() {
	local c
	mkdir -p cg
	must mount -t cgroup2 none cg
	for c in memory io; do
		must sh -c "echo +$c >cg/cgroup.subtree_control"
	done
	must mkdir cg/small cg/writer cg/filler
	must sh -c 'echo 40M >cg/small/memory.max'
}

groups_off() {
	must rmdir cg/small cg/writer cg/filler
	must sh -c 'echo -memory >cg/cgroup.subtree_control; echo -io >cg/cgroup.subtree_control'
	must umount cg
}

# A group swaps, and is killed when it is full.
small_group() {
	local filler
	(within small "$SL_HELPERS/memfill" fill 100 35 <rest >filled) &
	filler=$!
	exec 7>rest
	until grep -q ready filled || ! kill -0 $filler 2>/dev/null; do sleep 0.2; done
	ok "$what: 100 MiB in a group of 40 MiB" grep -q ready filled
	kill -9 $filler
	exec 7>&-
	wait $filler 2>/dev/null
}

swap_run() { # FILL DIO [groups]
	local fill=$1 dio=$2 what="$fs, $1, direct I/O $2${3:+, $3}" t0=$SECONDS writer filler more rc out
	out=$(pswpout)
	case $fs in
	ext4) must mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 "$SCRATCH" 900M ;;
	xfs) must mkfs.xfs -q -f "$SCRATCH" ;;
	btrfs) must mkfs.btrfs -q -f "$SCRATCH" ;;
	esac
	must mount -t "$fs" "$SCRATCH" low
	case $fill in
	written) must dd if=/dev/zero of=low/swap bs=1M count=$size conv=fsync status=none ;;
	preallocated) must fallocate -l ${size}M low/swap ;;
	esac
	attach low/swap --direct-io="$dio"
	must mkswap "$dev"
	must swapon "$dev"
	echo 3 >/proc/sys/vm/drop_caches
	if [[ ${3:-} ]]; then
		groups_on
		small_group
	fi

	more=$(($(avail) + over))
	(within writer dd if=/dev/zero of=low/junk bs=1M count=150 conv=fsync status=none) &
	writer=$!
	(within filler "$SL_HELPERS/memfill" fill $more 300 <rest >filled) &
	filler=$!
	exec 7>rest
	until grep -q ready filled || ! kill -0 $filler 2>/dev/null; do sleep 0.2; done
	wait $writer
	is $? 0 "$what: the writer is through"
	used=$(awk -v d="$dev" '$1 == d { print int($4 / 1024) }' /proc/swaps)
	ok "swapoff, with $used MiB in it" swapoff "$dev"
	echo >&7 2>/dev/null
	exec 7>&-
	wait $filler
	rc=$?
	if [[ $fs == btrfs && $rc -eq 137 ]]; then
		tap 0 "$more MiB were too much, and the process was killed, not the machine"
	else
		is $rc 0 "$more MiB were right"
	fi
	out=$(($(pswpout) - out))
	at_least $out $((rc ? 1 : over / 2)) "$out MiB were swapped out ($((SECONDS - t0)) s)"
	[[ ! ${3:-} ]] || groups_off
	detach "$dev"
	must umount low
}

swap_all() {
	local fill dio
	for fill in written preallocated; do
		for dio in off on; do
			swap_run $fill $dio
		done
	done
	swap_run preallocated off groups
	echo >&8
	exec 8>&-
	wait $lock
	is $? 0 "the memory that was locked is free again"
}
