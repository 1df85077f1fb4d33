# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by the tests that run on the machine itself: TAP, and the functions of scripts/lib.sh.

# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/../../scripts/lib.sh"
set +e
trap - ERR

points=0 failed=0

# point STATUS DESCRIPTION [DIAGNOSTICS]
point() {
	points=$((points + 1))
	if [[ $1 -eq 0 ]]; then
		printf 'ok %d - %s\n' "$points" "$2"
	else
		failed=$((failed + 1))
		printf 'not ok %d - %s\n' "$points" "$2"
		[[ -z ${3:-} ]] || head -n 30 <<<"$3" | sed 's/^/#   /'
	fi
}

# ok DESCRIPTION COMMAND...: it succeeds.
ok() {
	local what=$1 out rc
	shift
	out=$("$@" 2>&1)
	rc=$?
	point "$rc" "$what" "$out"
}

# is GOT WANTED DESCRIPTION
is() {
	[[ $1 == "$2" ]]
	point $? "$3" "got '$1', wanted '$2'"
}

# empty TEXT DESCRIPTION: nothing was found.
empty() {
	[[ -z $1 ]]
	point $? "$2" "$1"
}

skip_all() {
	printf '1..0 # SKIP %s\n' "$1"
	exit 0
}

done_testing() {
	printf '1..%d\n' "$points"
	[[ $failed -eq 0 ]]
	exit
}

# rc_is WANTED DESCRIPTION COMMAND...: it ends with that code.
rc_is() {
	local wanted=$1 what=$2 out rc
	shift 2
	out=$("$@" 2>&1)
	rc=$?
	[[ $rc -eq $wanted ]]
	point $? "$what" "code $rc, wanted $wanted: $out"
	OUTPUT=$out
}
export OUTPUT=
