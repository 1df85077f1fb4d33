# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the tests of this group share: the same program on the in-tree driver and then on this one, in
# one boot, and a comparison of what it did.
#
# A test has a function with everything the program is to do, and ends with
#	on_both_drivers FUNCTION
#	done_testing
# FUNCTION is called with each driver loaded in turn, an empty folder low/ (of a filesystem on the
# scratch disk) and an empty folder m/. What it notes must be the same; what it checks must hold on both.

((SL_INTREE)) && skip_all "it compares the two by itself"

driver=''
declare -A noted=() seen=()
labels=()

# A fork and exec are most of what a small step costs in an emulated machine: what is done for every
# note is done by the shell.
shopt -s extglob

note() { # LABEL TEXT: what is compared
	[[ -z ${noted[$driver $1]+x} ]] || fatal "'$1' is noted twice"
	# Devices have other numbers each time.
	noted[$driver $1]=${2//loop+([0-9])/loop#}
	[[ -n ${seen[$1]+x} ]] || labels+=("$1")
	seen[$1]=1
}

does() { # LABEL COMMAND...: it succeeds; what it says is noted, and is in said
	local label=$1 rc
	shift
	said=$("$@" 2>&1)
	rc=$?
	tap "$rc" "$driver: $label" || diag "$* => $rc${said:+$'\n'$said}"
	note "$label" "$rc${said:+$'\n'$said}"
}

refuses() { # LABEL COMMAND...: it fails; how is noted
	local label=$1 rc
	shift
	said=$("$@" 2>&1)
	rc=$?
	tap $((rc > 0 && rc < 126 ? 0 : 1)) "$driver: $label" || diag "$* => $rc${said:+$'\n'$said}"
	note "$label" "$rc${said:+$'\n'$said}"
}

has() { # LABEL GOT WANTED: this it is, on both
	is "$2" "$3" "$driver: $1"
	note "$1" "$2"
}

# Sets dev: the device of FILE, whoever bound it.
device_of() { # FILE
	dev=$(losetup -n -O NAME -j "$1")
	[[ $dev =~ ^/dev/loop[0-9]+$ ]] || fatal "$driver: no device, or more than one, of $1: '$dev'"
}

# Sets bound_as: how a device was bound. Direct I/O and the rest is the program's choice.
how_bound() { # DEVICE
	local a value
	bound_as=
	for a in size ro loop/{autoclear,partscan,dio,offset,sizelimit} queue/logical_block_size; do
		read -r value <"/sys/block/${1#/dev/}/$a"
		bound_as+=" ${a#*/}=$value"
	done
}

# Sets remains: what is bound, mapped or mounted.
remaining() {
	local d what where name
	remains=
	for d in /sys/block/loop*/loop/backing_file; do
		{ read -r name <"$d"; } 2>/dev/null && remains+="bound: ${d:11}: $name"$'\n'
	done
	for d in /sys/block/dm-*/dm/name; do
		{ read -r name <"$d"; } 2>/dev/null && remains+="mapped: $name"$'\n'
	done
	while read -r what where _; do
		[[ ! $what =~ ^/dev/(loop|mapper/) && $where != "$T"/* || $where == "$T/low" ]] || remains+="mounted: $where"$'\n'
	done </proc/mounts
}

# udev and a lazy unmount may be the last to let go.
nothing_left() {
	local i
	for ((i = 0; i < 200; i++)); do
		remaining
		[[ -n $remains ]] || return 0
		sleep 0.05
	done
	echo "$remains"
	return 1
}

handles_gone() {
	local i
	for ((i = 0; i < 200; i++)); do
		(($(counter backings_created) != $(counter backings_destroyed))) || return 0
		sleep 0.05
	done
	return 1
}

on_both_drivers() { # FUNCTION
	local late label d
	# Whoever opens a node of a driver that has just gone does not load the other one.
	mkdir -p /run/modprobe.d
	echo "blacklist loop" >/run/modprobe.d/client.conf
	at_end 'rm /run/modprobe.d/client.conf'
	# A mapping that a program has left would keep the driver in use.
	at_end '{ dmsetup remove_all --force; losetup -D; } >/dev/null 2>&1'
	low_fs ext4
	must rmdir low/lost+found
	mkdir -p m
	for driver in in-tree safeloop; do
		SECONDS=0
		load_driver "${driver/safeloop/replace}"
		"$1"
		settle
		ok "$driver: nothing is left bound, mapped or mounted" nothing_left
		rm -rf low/*
		ok "$driver: the filesystem below can be unmounted" umount low
		if [[ $driver == safeloop ]]; then
			ok "every backing handle was destroyed" handles_gone
			late=0
			for d in /sys/block/loop*/safeloop/late_io; do
				[[ ! -e $d ]] || late=$((late + $(<"$d")))
			done
			diag "requests that came late: $late"
		else
			must mount -t ext4 "$SCRATCH" low
		fi
		diag "$driver: $SECONDS s"
	done
	isnt "${#labels[@]}" 0 "there is something to compare"
	for label in "${labels[@]}"; do
		is "${noted[safeloop $label]-<nothing>}" "${noted[in-tree $label]-<nothing>}" "as in-tree: $label"
	done
	restore_module
}

# An image with a GPT, a root that looks like an OS, and an ESP.
os_tree() { # DIR
	mkdir -p "$1"/{etc,usr/bin,usr/lib,proc,sys,dev,run,tmp,var}
	printf 'ID=image\nNAME="An image"\nVERSION_ID=1\n' >"$1/usr/lib/os-release"
	ln -s ../usr/lib/os-release "$1/etc/os-release"
	ln -s usr/lib "$1/lib"
	must cp "$SL_HELPERS"/lo* "$1/usr/bin"
}

# --- stress-ng ----------------------------------------------------------------

# In each round a worker takes a free device or makes one, binds it, sets and changes what there is to set,
# takes the file away and removes the device. Some of what is refused it passes over.
declare -A rate=()

stress() { # WORKERS ROUNDS
	local out
	out=$(stress-ng --temp-path "$PWD/low" --loop "$1" --loop-ops "$2" --timeout 60 --verify --metrics 2>&1)
	has "its exit code" $? 0
	has "what failed" "$(grep -E 'fail:|warn:|error:' <<<"$out")" ""
	like "$out" "passed: $1: loop" "$driver: all workers passed"
	[[ $out =~ \]\ loop\ +([0-9]+)(\ +[0-9.]+){3}\ +([0-9.]+) ]]
	rate[$driver]=${BASH_REMATCH[3]-}
	at_least "${BASH_REMATCH[1]-}" "$2" "$driver: all rounds"
	((tap_failed == 0)) || diag "$out"
}

stress_rates() {
	diag "rounds per second: in-tree ${rate[in-tree]}, safeloop ${rate[safeloop]}"
}
