# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Sourced by the tests that run util-linux's own, with the names of those in tests, and in minimum how many sub-tests
# have to pass: on the in-tree driver, then on this one, and a comparison of the results.

((SL_INTREE)) && skip_all "it compares the two by itself"
((SL_SLOW > 1)) && skip_all "what these programs do does not depend on the kernel's configuration"
suite=/payload/util-linux-tests

# Expects a file to be free as soon as "umount" returns: not when udev looks at its device in that moment.
hasty=libmount/loop-overlay

# Adds lines "SUB-TEST RESULT REASON" of one test to $out/TEST, "all" for the test as a whole.
run_one() { # TEST
	local t=$1 i left
	mkdir -p "$out/${t%/*}"
	[[ $t != "$hasty" ]] || must udevadm control --stop-exec-queue
	"$suite/tests/ts/$t" " --srcdir=$suite --builddir=$PWD/build --use-system-commands --parsable --show-diff" \
		>"$out/$t.log" 2>&1 </dev/null
	[[ $t != "$hasty" ]] || must udevadm control --start-exec-queue
	settle
	for ((i = 0; i < 100; i++)); do
		left=$(cd /sys/block && echo loop*/loop/)
		[[ $left == *'*'* ]] && break
		sleep 0.05
	done
	awk '
		match($0, / \.\.\. (OK|FAILED|KNOWN FAILED|SKIPPED)( \(|$)/) {
			result = substr($0, RSTART + 5)
			name = match($0, /: \[[0-9]+\] [^ ]+/) ? substr($0, RSTART + 7, RLENGTH - 7) : "all"
			print name, result
		}' "$out/$t.log" >"$out/$t"
	[[ $left == *'*'* ]] || echo "left-bound FAILED ($left)" >>"$out/$t"
}

run_all() { # DRIVER
	local t started=$SECONDS at
	out=$T/$1
	diag "$1:"
	for t in "${tests[@]}"; do
		at=${EPOCHREALTIME/./}
		run_one "$t"
		at=$(((${EPOCHREALTIME/./} - at) / 100000))
		diag "$(printf '  %-28s %2d.%d s  %s' "$t" $((at / 10)) $((at % 10)) "$(grep '^all ' "$out/$t")")"
		grep -q 'FAILED\|SKIPPED' "$out/$t" || continue
		diag "$(grep -v '^all ' "$out/$t")"
		diag "$(head -n 60 "$out/$t.log")"
	done
	diag "$1: $((SECONDS - started)) s"
}

mkdir build
must cp "$suite"/{test_*,enosys,lsfd,uuidgen} build
# The guest's own programs come first.
PATH=$PATH:$PWD/build
# The suite reads here that mount can do verity; that of the guest can.
echo '#define HAVE_CRYPTSETUP 1' >build/config.h
unset DM_DISABLE_UDEV
must modprobe -a sd_mod btrfs

# Nobody loads the in-tree driver by opening a node of this one that has just gone.
echo blacklist loop >/etc/modprobe.d/loop.conf
at_end 'rm /etc/modprobe.d/loop.conf'
at_end '[[ ! -d /sys/module/loop ]] || rmmod loop'
at_end 'udevadm control --start-exec-queue'
remove_module
reloaded=1
must modprobe loop
settle
run_all in-tree
MODULE=loop remove_module
restore_module
run_all safeloop

for t in "${tests[@]}"; do
	worse=$(awk '
		BEGIN { rank["SKIPPED"] = 1; rank["OK"] = 2 }
		FILENAME == ARGV[1] { theirs[$1] = $2; next }
		{ ours[$1] = $2 }
		END {
			for (name in theirs)
				if (rank[theirs[name]] > rank[ours[name]])
					print name ": in-tree " theirs[name] ", safeloop " ours[name]
			for (name in ours)
				if (!(name in theirs) && ours[name] != "OK")
					print name ": safeloop " ours[name]
		}' "$T/in-tree/$t" "$T/safeloop/$t")
	is "$worse" "" "$t: nothing is worse than with the in-tree driver"
	cmp -s "$T/in-tree/$t" "$T/safeloop/$t" || diag "$(diff "$T/in-tree/$t" "$T/safeloop/$t")"
done
cd safeloop || exit
is "$(grep -L '^all OK' "${tests[@]}")" "" "every test passed"
is "$(grep -v ' OK' "${tests[@]}")" "" "no sub-test failed or was skipped"
# A test without sub-tests counts as one.
at_least "$(awk '$1 != "all" && $2 == "OK" || $1 == "all" && FNR == 1 && $2 == "OK"' "${tests[@]}" | wc -l)" "$minimum" \
	"at least $minimum sub-tests passed"
cd ..
