# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# For the tests of scripts/vm: runs what comes on standard input in a VM without the module.

tmpdir

# in_vm CODE DESCRIPTION [OPTION OF vm...]
in_vm() {
	local wanted=$1 what=$2
	shift 2
	{ printf '#!/bin/bash\n'; cat; } >"$TMP/script"
	rc_is "$wanted" "$what" "$TOP/scripts/vm" --module none "$@" "$KERNEL" --script "$TMP/script"
}

said() {
	grep -q -e "$1" <<<"$OUTPUT"
	point $? "it says: $1" "$OUTPUT"
}

said_not() {
	! grep -q -e "$1" <<<"$OUTPUT"
	point $? "it does not say: $1" "$OUTPUT"
}
