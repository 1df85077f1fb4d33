# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced in the VM before anything that wants a loaded module: load_mode MODE and unload.
# SL_KO is the module under test, or "in-tree" (the harness tried out on the kernel's own loop).

export SL_KO SL_HELPERS SL_MODE SL_NAME SL_CTL KERNEL SCRATCH SCRATCH2

# udev opens every device that changes, whenever it gets to it, and that costs more of an emulated CPU
# than most of what is tested. So it is there only for those who ask for it, SL_UDEV says if it is.
export SL_UDEV=${SL_UDEV:-0}

udev_start() {
	/usr/lib/systemd/systemd-udevd --daemon 2>/dev/null
	SL_UDEV=1
	# Only what tests look at: all of it would take ten seconds.
	udevadm trigger --action=add --subsystem-match=block --subsystem-match=misc
	udevadm settle --timeout=60
}

udev_stop() {
	settle
	pkill -x systemd-udevd
	while pgrep -x systemd-udevd >/dev/null; do sleep 0.02; done
	SL_UDEV=0
}

settle() {
	((SL_UDEV == 0)) || udevadm settle --timeout=60
}

# load_mode MODE: loads the module in that mode and sets SL_MODE, SL_NAME, SL_CTL.
load_mode() {
	SL_MODE=$1
	case $SL_MODE in
	replace) SL_NAME=loop SL_CTL=/dev/loop-control ;;
	coexist) SL_NAME=loops SL_CTL=/dev/safeloop-control ;;
	*) echo "load_mode: no mode '$1'" >&2; return 1 ;;
	esac
	if [[ $SL_KO == in-tree ]]; then
		SL_NAME=loop SL_CTL=/dev/loop-control
		modprobe loop || return 1
	else
		if [[ $SL_MODE == coexist ]]; then modprobe loop || return 1; fi
		insmod "$SL_KO" "mode=$SL_MODE" || return 1
	fi
	settle
	[[ -c $SL_CTL ]] || { echo "load_mode: $SL_CTL did not appear" >&2; return 1; }
}

# unload_mode: the reverse of load_mode.
unload_mode() {
	settle
	if [[ $SL_KO == in-tree ]]; then
		rmmod loop
		return
	fi
	rmmod safeloop || return 1
	if [[ $SL_MODE == coexist ]]; then rmmod loop || return 1; fi
}
