#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# usage: probe.sh PROBE.c RESULT CC [FLAGS...]
#
# Compiles one probe with the flags that the module itself is compiled with,
# and writes the answer to RESULT as one preprocessor line. The name of the
# file is the name of the macro: freeze-memflags.c gives HAVE_FREEZE_MEMFLAGS.
set -eu

probe=$1 result=$2
shift 2

name=$(basename "$probe" .c | tr 'a-z-' 'A-Z_')
if "$@" -Wno-error -Wno-unused \
	-Werror=implicit-function-declaration -Werror=int-conversion \
	-Werror=incompatible-pointer-types -DKBUILD_MODNAME='"safeloop"' \
	-c -o "$result.o" "$probe" >"$result.log" 2>&1
then
	echo "#define HAVE_$name 1" >"$result.tmp"
else
	echo "/* no $name */" >"$result.tmp"
fi
rm -f "$result.o" "$result.o.d"
mv "$result.tmp" "$result"
